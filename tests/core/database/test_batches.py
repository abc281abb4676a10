"""Rows are read and deleted in batches by primary key."""

import pytest

from accounts.models import Organization
from aichat.core.database.batches import column_by_key, delete, in_batches, rows_by_key

pytestmark = pytest.mark.django_db


def test_every_row_comes_once_whatever_the_size_of_a_batch() -> None:
    rows = [Organization.objects.create(name=str(number)) for number in range(5)]
    for size in (1, 2, 5, 6):
        batches = list(rows_by_key(Organization.objects.all(), size))
        assert [row.pk for batch in batches for row in batch] == sorted(row.pk for row in rows)
        assert max(map(len, batches)) <= size


def test_a_row_deleted_meanwhile_ends_no_reading() -> None:
    for number in range(4):
        Organization.objects.create(name=str(number))
    batches = rows_by_key(Organization.objects.all(), 2)
    first = next(batches)
    Organization.objects.filter(pk__in=[row.pk for row in first]).delete()
    assert len([row for batch in batches for row in batch]) == 2


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_the_rows_asked_for_are_deleted_and_no_others(size: int) -> None:
    for number in range(6):
        Organization.objects.create(name=str(number))
    assert delete(Organization.objects.exclude(name="3").order_by("name"), size) == 5
    assert [row.name for row in Organization.objects.all()] == ["3"]


def test_items_come_in_lists_of_at_most_the_size() -> None:
    assert list(map(list, in_batches(range(5), 2))) == [[0, 1], [2, 3], [4]]
    assert list(in_batches([], 2)) == []


def test_a_column_is_looked_up_by_key_and_none_is_no_key() -> None:
    row = Organization.objects.create(name="Alice & Co")
    assert column_by_key(Organization, [row.pk, None, row.pk], "name") == {row.pk: "Alice & Co"}
