"""MongoDB: a document of the version before lacks the columns that were added since, and counts as having their defaults."""

from typing import Any

import httpx
import pytest
from django.apps import apps
from django.core.management.sql import emit_pre_migrate_signal
from django.db import connection as django_connection
from django.db import models
from django.db.migrations import Migration
from django.db.models import Count, F

from accounts import caller_cache
from accounts.models import AccessToken, Membership, User
from aichat.catalog.models import Price
from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from credits.models import Hold, LedgerEntry
from credits.operations import RefundTooLarge
from credits.services import refund
from tests.conftest import Actor
from tests.test_architecture import PACKAGES

pytestmark = pytest.mark.skipif(django_connection.vendor != "mongodb", reason="SQL's tables have the defaults")
connection: Any = django_connection  # MongoDB's has more


def forget_added_columns() -> dict[type[models.Model], list[Any]]:
    """Make all documents as the version before would have written them. Returns what was forgotten of each table in use."""
    from aichat.core.database.mongodb.defaults import may_lack

    forgotten = {}
    for model in apps.get_models():
        fields = [field for field in model._meta.concrete_fields if may_lack(field)]
        if model.__module__.split(".")[0] in PACKAGES and fields:
            unset = {"$unset": dict.fromkeys((field.column for field in fields), "")}
            if connection.get_collection(model._meta.db_table).update_many({}, unset).modified_count:
                forgotten[model] = fields
    return forgotten


@pytest.fixture
def used(http: httpx.Client, alice: Actor) -> Actor:
    alice.set_credits(100)
    say_hello(http, alice)
    return alice


def say_hello(http: httpx.Client, actor: Actor) -> None:
    answer = http.post("/api/v1/chat", json={"message": "Hello", "model": "demo"}, headers=actor.headers)
    assert answer.status_code == 200, answer.text


def test_keys_prices_and_charges_without_them_serve_and_a_charge_is_refunded_once(
    http: httpx.Client, used: Actor
) -> None:
    charge = LedgerEntry.objects.get(kind=LedgerEntry.Kind.CHARGE)
    assert {AccessToken, User, Hold, Price, UsageRecord} <= forget_added_columns().keys()
    caller_cache.forget()
    say_hello(http, used)
    refund(charge, CREDIT * 6 // 10, reason="Wrong answer")
    with pytest.raises(RefundTooLarge):
        refund(charge, CREDIT * 5 // 10, reason="Again")


def test_they_are_read_compared_grouped_and_added_to_as_their_defaults(used: Actor) -> None:
    from aichat.core.database.mongodb.defaults import default

    for model, fields in forget_added_columns().items():
        rows: Any = model._base_manager.all()
        for field in fields:
            value = field.to_python(default(field, "default"))
            assert {getattr(row, field.name) == value for row in rows} == {True}, field
            assert {str(found) for found in rows.values_list(field.name, flat=True)} == {str(value)}, field
            if isinstance(field, models.JSONField):
                continue
            assert rows.filter(**{field.name: value}).count() == rows.count(), field
            assert not rows.exclude(**{field.name: value}).exists(), field
            assert [each["n"] for each in rows.values(field.name).annotate(n=Count("pk"))] == [rows.count()]
            if isinstance(field, models.IntegerField):
                rows.update(**{field.name: F(field.name) + 1})
                assert set(rows.values_list(field.name, flat=True)) == {value + 1}, field


def test_joined_rows_have_them_and_rows_that_are_not_there_have_none(used: Actor) -> None:
    forget_added_columns()
    revisions = Membership.objects.select_related("user").values_list("user__revision", flat=True)
    assert (set(revisions), Membership.objects.select_related("user")[0].user.revision) == ({0}, 0)


def test_the_next_upgrade_writes_them_down(used: Actor) -> None:
    forgotten = forget_added_columns()
    emit_pre_migrate_signal(0, False, "default", apps=apps, plan=[])  # nothing to migrate
    assert lacking(forgotten) == forgotten.keys()
    emit_pre_migrate_signal(0, False, "default", apps=apps, plan=[(Migration("next", "usage"), False)])
    assert lacking(forgotten) == set()


def lacking(forgotten: dict[type[models.Model], list[Any]]) -> set[type[models.Model]]:
    return {
        model
        for model, fields in forgotten.items()
        if connection.get_collection(model._meta.db_table).find_one(
            {"$or": [{field.column: {"$exists": False}} for field in fields]}
        )
    }
