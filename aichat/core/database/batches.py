"""Reads or deletes many rows in batches by primary key, with bounded memory and no cursor that stays open."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

T = TypeVar("T")
M = TypeVar("M", bound=Model)
SIZE = 500  # rows or keys for one statement: SQLite takes at most 999 parameters in old builds


def rows_by_key(rows: QuerySet[M], size: int = SIZE, *, newest_first: bool = False) -> Iterator[list[M]]:
    """Yield all rows in order of their primary key, `size` at a time; each batch is a query that begins after the last."""
    order, beyond = ("-pk", "pk__lt") if newest_first else ("pk", "pk__gt")
    ordered = rows.order_by(order)
    batch = list(ordered[:size])
    while batch:
        yield batch
        batch = list(ordered.filter(**{beyond: batch[-1].pk})[:size])


def in_batches(items: Iterable[T], size: int = SIZE) -> Iterator[Sequence[T]]:
    """Yield the items in lists of at most `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _delete_batch(rows: QuerySet[Any], keys: Sequence[Any]) -> int:
    rows.model._default_manager.filter(pk__in=keys).delete()
    return len(keys)


def delete(
    rows: QuerySet[Any],
    size: int = SIZE,
    *,
    delete_batch: Callable[[QuerySet[Any], Sequence[Any]], int] = _delete_batch,
) -> int:
    """Delete all rows in their order, `size` at a time, so that no statement locks many of them for long; return how many.

    Rows with which other rows go need a `delete_batch` of their own: it gets the rows and the keys of one batch, and returns
    how many rows it deleted.
    """
    deleted = 0
    while keys := list(rows.values_list("pk", flat=True)[:size]):
        deleted += delete_batch(rows, keys)
    return deleted


def column_by_key(model: Any, keys: Iterable[Any], column: str, *, key: str = "pk") -> dict[Any, Any]:
    """The values of one column by a unique column (`key`), for the rows of the model with these keys; None is no key."""
    found: dict[Any, Any] = {}
    for batch in in_batches({each for each in keys if each is not None}):
        found.update(model.objects.filter(**{f"{key}__in": batch}).values_list(key, column))
    return found
