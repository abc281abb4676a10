"""Callers who are looked up at the same time share one reading, and each gets their own answer."""

import asyncio
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import caller_reader
from accounts.authentication import Caller, InvalidApiKey
from accounts.caller_reader import read, read_all
from accounts.models import Membership, Organization
from aichat.core.errors import NotAuthenticated, NotFound
from tests.conftest import Actor

pytestmark = pytest.mark.django_db(transaction=True)


def bearer(secret: str) -> tuple[str, str]:
    return f"Bearer {secret}", ""


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many callers each reading was for."""
    sizes: list[int] = []

    def counted(asked: Any) -> Any:
        sizes.append(len(asked))
        return read_all(asked)

    monkeypatch.setattr(caller_reader, "read_all", counted)
    return sizes


def test_each_gets_their_own_caller_or_error_by_one_statement(alice: Actor, bob: Actor) -> None:
    asked = [bearer(alice.key), bearer("sk-unknown"), ("Basic x", ""), bearer(bob.key), (f"Bearer {bob.key}", "other")]
    with CaptureQueriesContext(
        connection,
    ) as statements:
        found = read_all(asked)
    assert [type(one) for one in found] == [Caller, InvalidApiKey, NotAuthenticated, Caller, NotFound]
    assert [one.user.pk for one in found if isinstance(one, Caller)] == [alice.user.pk, bob.user.pk]
    assert len(statements) == 1


def test_the_place_in_a_team_is_the_callers_own(alice: Actor, bob: Actor) -> None:
    team = Organization.objects.create(name="Team")
    for who, limit in ((alice, 5), (bob, 7)):
        Membership.objects.create(organization=team, user=who.user, role="member", spend_limit_month=limit)
    asked = [(f"Bearer {who.token}", str(team.pk)) for who in (bob, alice)]
    found = [one for one in read_all(asked) if isinstance(one, Caller)]
    assert [(one.user.pk, one.membership and one.membership.spend_limit_month) for one in found] == [
        (bob.user.pk, 7), (alice.user.pk, 5),
    ]  # fmt: skip
    assert [one.membership for one in read_all([bearer(alice.key)]) if isinstance(one, Caller)] == [None]


async def test_who_asks_during_a_reading_shares_the_next_one(alice: Actor, bob: Actor, batches: list[int]) -> None:
    first = asyncio.ensure_future(read(bearer(alice.key)))
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(read(bearer(secret))) for secret in (bob.key, "sk-unknown", bob.token)]
    assert (await first).user.pk == alice.user.pk
    found = await asyncio.gather(*others, return_exceptions=True)
    assert [type(one) for one in found] == [Caller, InvalidApiKey, Caller]
    assert batches == [1, 3]


async def test_who_can_wait_is_read_with_whoever_cannot(alice: Actor, bob: Actor, batches: list[int]) -> None:
    patient = asyncio.ensure_future(read(bearer(alice.key), patience=5.0))
    await asyncio.sleep(0)
    assert (await read(bearer(bob.key))).user.pk == bob.user.pk
    assert (await patient).user.pk == alice.user.pk
    assert batches == [2]


async def test_who_leaves_takes_nobody_along(alice: Actor, bob: Actor, batches: list[int]) -> None:
    leaving, staying = (asyncio.ensure_future(read(bearer(who.key), patience=5.0)) for who in (alice, bob))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).user.pk == bob.user.pk


async def test_a_database_that_is_away_is_an_error_for_all_and_the_next_reading_works(
    alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(asked: Any) -> Any:
        raise ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(caller_reader, "read_all", away)
        both = await asyncio.gather(read(bearer(alice.key)), read(bearer(alice.token)), return_exceptions=True)
    assert [str(one) for one in both] == ["away", "away"]
    assert (await read(bearer(alice.key))).user.pk == alice.user.pk
