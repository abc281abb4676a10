"""`statements.insert` stores exactly what `bulk_create` stores, on whichever engine the tests run."""

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from django.db import DatabaseError, DataError, IntegrityError, InternalError, connection, transaction
from django.db.models import Model, QuerySet

from aichat.chat.models import Conversation, Message
from aichat.core.database import statements, transactions
from aichat.core.database.models import uuid7
from aichat.core.database.statements import Statement
from aichat.usage.models import UsageRecord
from credits.models import Hold, LedgerEntry
from tests.conftest import Actor

NOON = datetime(2026, 3, 1, 12, 30, 0, 123000, UTC)


def usage(actor: Actor, **facts: Any) -> UsageRecord:
    of = {"organization": actor.organization, "user_id": actor.user.pk, "request_id": "r", "requested_model": "auto"}
    return UsageRecord(**of | {"provider": "p", "status": "ok", "created_at": NOON, "day": NOON.date()} | facts)


def usage_records(actor: Actor) -> list[Model]:
    cet = timezone(timedelta(hours=1))
    return [
        usage(actor, prices={"input": "0.15", "nested": [1, 2.5, None, {"ü": "\u2028"}]}, hold_id=uuid7(), model="m"),
        usage(actor, prices={}, created_at=NOON.replace(microsecond=0), first_token_ms=0, source="ESTIMATED"),
        usage(actor, created_at=NOON.astimezone(cet), day="2026-03-01", api_key_id=str(uuid7()), charged=2**62),
        usage(actor, source=UsageRecord.Source.EXACT, attempt=True, input_tokens="7", final=False, model="\"ü\\n'{}"),
    ]


def messages(actor: Actor) -> list[Model]:
    conversation = Conversation.objects.create(organization=actor.organization, user=actor.user)
    texts = ["", "Grüße, 世界 🙂", "tab\tand\nline\\ \"quoted\" 'twice'", "\x01 control", "x" * 100_000]
    return [Message(conversation=conversation, role=Message.Role.USER, content=text) for text in texts]


def holds(actor: Actor) -> list[Model]:
    facts: dict[str, Any] = {"wallet": actor.wallet, "amount": 5, "expires_at": NOON}
    counted = [[str(uuid7()), "2026-03-01"]]
    return [Hold(reference="a", counted=counted, **facts), Hold(reference="b", closed_by=uuid7(), **facts)]


def entries(actor: Actor) -> list[Model]:
    return [
        LedgerEntry(
            wallet_id=actor.wallet.pk, sequence=sequence, kind=LedgerEntry.Kind.ADJUSTMENT, amount=-(2**62),
            balance_after=1, reference=f"r{sequence}", actor=actor.user, created_at=NOON, digest="d",
        )
        for sequence in (1001, 1002)
    ]  # fmt: skip


def stored(rows: list[Model]) -> list[Any]:
    """What the database holds of the rows, in its own form."""
    table = rows[0]._meta.db_table
    names = [field.column for field in rows[0]._meta.concrete_fields]
    if connection.vendor == "mongodb":
        from bson import encode

        ids = [row.pk.hex for row in rows]
        found = connection.get_collection(table).find({"_id": {"$in": ids}}, session=connection.session)  # type: ignore[attr-defined]
        return sorted(encode(dict(sorted(document.items()))) for document in found)
    shown = ", ".join(f'quote("{name}")' for name in names) if connection.vendor == "sqlite" else "whole::text"
    ids = [row.pk.hex if connection.vendor == "sqlite" else row.pk for row in rows]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {shown} FROM {table} AS whole WHERE _id IN ({', '.join(['%s'] * len(ids))})", ids)
        return sorted(cursor.fetchall())


@pytest.mark.parametrize("made", [usage_records, messages, holds, entries])
def test_what_is_stored_is_what_bulk_create_stores(alice: Actor, made: Callable[[Actor], list[Model]]) -> None:
    rows = made(alice)
    twins = deepcopy(rows)
    model = type(rows[0])
    model._default_manager.bulk_create(rows)
    expected = stored(rows)
    QuerySet(model).filter(pk__in=[row.pk for row in rows])._raw_delete("default")
    statements.insert(twins)
    assert len(expected) == len(rows)
    assert stored(twins) == expected
    assert not any(row._state.adding for row in twins)


@pytest.mark.django_db(transaction=True)
def test_a_row_that_is_there_already_is_an_integrity_error(alice: Actor) -> None:
    [hold, _] = holds(alice)
    statements.insert([hold])
    with pytest.raises(IntegrityError):
        transactions.run_atomic(statements.insert, [hold])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("facts", [{"day": None}, {"charged": 2**64}], ids=["null", "too large"])
def test_what_a_column_can_not_hold_is_refused(alice: Actor, facts: dict[str, Any]) -> None:
    with pytest.raises((DatabaseError, OverflowError)):
        transactions.run_atomic(statements.insert, [usage(alice, **facts)])
    assert not UsageRecord.objects.exists()


def test_a_day_is_a_day_and_no_rows_are_no_statement(alice: Actor, django_assert_num_queries: Any) -> None:
    row = usage(alice, day=date(2026, 2, 28))
    with django_assert_num_queries(1):
        statements.insert([row])
        statements.insert([])
    assert UsageRecord.objects.get().day == date(2026, 2, 28)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL keeps plans for a session")
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.django_db(transaction=True)
def test_a_session_that_forgot_its_plans_is_told_them_again(alice: Actor, last: bool) -> None:
    def insert() -> None:
        rows = [(Message, vars(message)) for message in messages(alice)]
        transactions.run_atomic(lambda: statements.insert_rows(rows, last=last))

    insert()
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    insert()
    assert Message.objects.count() == 10


@pytest.mark.skipif(connection.vendor != "postgresql", reason="the others end no transaction that has failed")
@pytest.mark.django_db(transaction=True)
def test_the_commit_of_a_transaction_that_has_failed_is_an_error(alice: Actor) -> None:
    """PostgreSQL answers such a COMMIT with ROLLBACK and without an error, so it must not be reached."""
    statements.insert(messages(alice))
    rows = [(Message, vars(message)) for message in messages(alice)]
    with pytest.raises(InternalError), transaction.atomic():
        with connection.cursor() as cursor, pytest.raises(DataError):
            cursor.execute("SELECT 1 / 0")
        statements.insert_rows(rows, last=True)
    assert Message.objects.count() == 5 and connection.get_autocommit()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="the others send no two statements at once")
@pytest.mark.django_db(transaction=True)
def test_more_than_a_socket_takes_goes_both_ways(alice: Actor) -> None:
    echo = Statement("SELECT %s::text")
    large = ["x" * 5_000_000, "y" * 5_000_000]
    assert Statement.together([(echo, [text]) for text in large]) == [[(text,)] for text in large]


@pytest.mark.skipif(connection.vendor == "mongodb", reason="it has no statements")
@pytest.mark.django_db(transaction=True)
def test_nothing_of_what_is_sent_with_a_statement_that_fails_is_done(alice: Actor) -> None:
    [hold, other] = holds(alice)
    statements.insert([hold])
    twice = [(Hold, vars(other)), (Hold, vars(hold))]
    with pytest.raises(IntegrityError):
        transactions.run_atomic(statements.insert_rows, [*twice, (UsageRecord, vars(usage(alice)))], last=True)
    assert Hold.objects.count() == 1 and not UsageRecord.objects.exists()
    transactions.run_atomic(statements.insert_rows, [(Hold, vars(other))], last=True)
    assert Hold.objects.count() == 2 and connection.get_autocommit()
