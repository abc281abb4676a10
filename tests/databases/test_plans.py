"""The queries of every request find their rows by an index, on the engine at hand: its own planner says so."""

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin import site
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import AccessToken, Organization, User
from aichat.chat import search
from aichat.chat.models import Conversation, Message
from aichat.core.database.models import uuid7
from aichat.usage.models import UsageRecord
from credits.models import Hold, LedgerEntry, Wallet
from tests.conftest import Actor


def found_in_admin(model: type[Model], term: str) -> QuerySet[Any]:
    """The first page of what the admin's list shows for a search."""
    shown = site.get_model_admin(model)
    rows, _ = shown.get_search_results(HttpRequest(), model._default_manager.order_by(*shown.ordering or ()), term)
    return rows[:101]


QUERIES: dict[str, Callable[[Actor], QuerySet[Any]]] = {
    "login": lambda alice: User.objects.filter(email="alice@example.com"),
    "key look-up": lambda alice: AccessToken.objects.select_related("user", "organization").filter(
        digest=AccessToken.objects.filter(user=alice.user).values_list("digest", flat=True)[0]
    ),
    "personal organization": lambda alice: Organization.objects.filter(personal_to=alice.user),
    "wallet reserve": lambda alice: Wallet.objects.filter(pk=alice.organization.pk, available__gte=1, held__gte=0),
    "hold claim": lambda alice: Hold.objects.filter(id__in=[alice.user.pk], state=Hold.State.OPEN),
    "hold sweep": lambda alice: Hold.objects.filter(state=Hold.State.OPEN, expires_at__lt=timezone.now()),
    "ledger entries": lambda alice: LedgerEntry.objects.filter(wallet_id=alice.organization.pk).order_by("-sequence")[
        :51
    ],
    "conversation list": lambda alice: Conversation.objects.filter(
        organization=alice.organization, user=alice.user
    ).order_by("-updated_at")[:51],
    "messages": lambda alice: Message.objects.filter(conversation_id=alice.user.pk).order_by("id")[:51],
    "usage list": lambda alice: UsageRecord.objects.filter(organization=alice.organization).order_by("-created_at")[
        :51
    ],
    "request by ID": lambda alice: UsageRecord.objects.filter(request_id="abc"),
    "admin search of people": lambda alice: found_in_admin(User, "alice@"),
    "admin search of usage by e-mail": lambda alice: found_in_admin(UsageRecord, "alice@"),
    "admin search of usage by request": lambda alice: found_in_admin(UsageRecord, "request-1"),
    "admin search of entries": lambda alice: found_in_admin(LedgerEntry, "request-1"),
    "admin search of holds": lambda alice: found_in_admin(Hold, "request-1"),
    "admin search of conversations": lambda alice: found_in_admin(Conversation, "alice@"),
    "admin list": lambda alice: User.objects.order_by("-created_at")[:101],
}


def scans(queryset: QuerySet[Any]) -> str:
    """The plan when it reads a whole table; empty when indexes find everything."""
    match connection.vendor:
        case "mongodb":
            plan = queryset.explain(verbosity="executionStats")
            # What a `$lookup` does to its other collection is counted, not named.
            reads_all = bool(re.search(r'COLLSCAN|"collectionScans": (?!0\b)', plan))
        case "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL enable_seqscan = off")  # reading all of a test's small tables is cheapest
            plan = queryset.explain()
            reads_all = "Seq Scan" in plan
        case _:
            plan = queryset.explain()
            reads_all = any("SCAN" in line and "INDEX" not in line for line in plan.splitlines())
    return plan if reads_all else ""


@pytest.mark.parametrize("name", QUERIES)
def test_an_index_finds_the_rows(alice: Actor, usage_record: Callable[..., UsageRecord], name: str) -> None:
    alice.wallet  # noqa: B018  (opened at first touch)
    usage_record(alice, request_id="request-1")
    if connection.vendor == "sqlite" and name == "admin search of people":
        pytest.skip("SQLite's LIKE never uses an index while it ignores case; its tables are small")
    assert scans(QUERIES[name](alice)) == ""


@pytest.mark.django_db
@pytest.mark.parametrize("within", [[], [uuid7()]], ids=["own", "shared"])
def test_the_words_of_messages_are_found_by_their_index(alice: Actor, within: list[UUID]) -> None:
    asked = alice.user.pk, ["some", "of"], within
    match connection.vendor:
        case "mongodb":
            plan = str(search.in_mongodb(*asked).explain())
            assert "TEXT_MATCH" in plan and f"'indexPrefix': {{'owner_id': '{alice.user.pk.hex}'}}" in plan, plan
        case "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL enable_seqscan = off")
            index = "using messages_of_conversation" if within else "on messages_by_words"
            assert f"Index Scan {index}" in plan_of(*search.in_postgresql(*asked))
        case _:
            plan = plan_of(*search.in_sqlite(*asked))
            assert "chat_search VIRTUAL TABLE INDEX" in plan and plan.count("SEARCH") == 2, plan


@pytest.mark.django_db
def test_messages_that_are_not_in_the_index_of_words_are_found_by_an_index() -> None:
    if connection.vendor == "mongodb":
        documents = connection.get_collection("chat_message")  # type: ignore[attr-defined]
        assert "COLLSCAN" not in str(documents.find({"owner_id": None}).limit(9).explain())
    else:
        assert scans(search.waiting()) == ""  # type: ignore[arg-type]


def plan_of(statement: str, values: list[Any]) -> str:
    explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {statement}", values)
        return "\n".join(str(row) for row in cursor.fetchall())


def test_a_scan_is_noticed(alice: Actor) -> None:
    assert scans(User.objects.filter(name="Alice")) != ""
    assert scans(AccessToken.objects.filter(name="test")) != ""
