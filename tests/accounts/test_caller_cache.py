"""Keys kept in memory: no look-up for a busy key, and nothing is accepted that was taken away."""

import asyncio
import dataclasses
import threading
import time
from typing import Any

import httpx
import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import caller_cache, caller_reader, services, teams
from accounts.authentication import Caller, InvalidApiKey, authenticate
from accounts.caller_cache import Recognition
from accounts.models import AccessToken, Membership, Role
from accounts.services import change_user
from aichat.core.redis import change_marks
from tests.conftest import Actor, in_team
from tests.engines import Valkey

CHAT = "/api/v1/chat"
HELLO = {"message": "Hello", "model": "demo"}


@pytest.fixture(params=["process", "redis"])
def state(request: pytest.FixtureRequest) -> str:
    if request.param == "redis":
        request.getfixturevalue("valkey")
    return str(request.param)


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When callers were looked up in the database."""
    times: list[float] = []

    def counted(*asked: Any) -> Any:
        times.append(time.monotonic())
        return authenticate(*asked)

    monkeypatch.setattr(caller_reader, "authenticate", counted)
    return times


def chat(http: httpx.Client, who: Actor, **headers: str) -> int:
    return http.post(CHAT, json=HELLO, headers={**who.headers, **headers}).status_code


def settled() -> None:
    """As if what was made for the test had been made a while ago."""
    caller_cache.forget()
    if (marks := change_marks._file()) is not None:
        marks.memory[:] = bytes(len(marks.memory))


def forget_marks(valkey: Valkey) -> None:
    import redis

    redis.Redis.from_url(valkey.url).flushall()


def test_a_busy_key_is_looked_up_once(
    state: str,
    http: httpx.Client,
    alice: Actor,
    look_ups: list[float],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for limit in ("ALONE_SECONDS", "FRESH_SECONDS"):
        monkeypatch.setattr(caller_cache, limit, 60.0)  # five chats may take longer
    settled()
    if state == "redis":
        forget_marks(request.getfixturevalue("valkey"))
    assert [chat(http, alice) for _ in range(5)] == [200] * 5
    assert len(look_ups) == 1


@pytest.mark.django_db(transaction=True)
async def test_an_ageing_entry_is_served_and_looked_up_beside_the_request(
    state: str, alice: Actor, look_ups: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_cache, "ALONE_SECONDS", 60.0)
    settled()

    async def recognized() -> Caller:
        return await Recognition(f"Bearer {alice.key}", "").caller()

    first = await recognized()
    [(key, entry)] = caller_cache._known.items()
    caller_cache._known[key] = dataclasses.replace(entry, at=entry.at - 50)
    assert await recognized() is first
    await caller_cache._under_way[key].task
    assert caller_cache._known[key].at > entry.at
    again = len(look_ups)
    assert await recognized() is not first and len(look_ups) == again


@pytest.mark.django_db(transaction=True)
async def test_a_look_up_beside_a_request_drops_a_key_that_is_gone(
    alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_cache, "ALONE_SECONDS", 60.0)
    settled()
    await Recognition(f"Bearer {alice.key}", "").caller()
    [(key, entry)] = caller_cache._known.items()
    await AccessToken.objects.filter(user=alice.user).aupdate(revoked_at=timezone.now())  # and the mark was lost
    caller_cache._known[key] = dataclasses.replace(entry, at=entry.at - 50)
    await Recognition(f"Bearer {alice.key}", "").caller()
    await asyncio.wait([caller_cache._under_way[key].task])
    await asyncio.sleep(0)
    assert key not in caller_cache._known


@pytest.mark.django_db(transaction=True)
async def test_an_old_entry_is_looked_up_before_it_is_used(valkey: Valkey, alice: Actor) -> None:
    settled()
    await Recognition(f"Bearer {alice.key}", "").caller()
    [(key, entry)] = caller_cache._known.items()
    await AccessToken.objects.filter(user=alice.user).aupdate(revoked_at=timezone.now())  # and the mark was lost
    caller_cache._known[key] = dataclasses.replace(entry, at=entry.at - caller_cache.SHARED_SECONDS)
    with pytest.raises(InvalidApiKey):
        await Recognition(f"Bearer {alice.key}", "").caller()


def test_after_a_change_a_key_is_looked_up_anew_and_then_kept(
    state: str, http: httpx.Client, alice: Actor, look_ups: list[float]
) -> None:
    settled()
    assert chat(http, alice) == 200
    change_user(alice.user, role=Role.SUBSCRIBER)
    before = len(look_ups)
    assert [chat(http, alice) for _ in range(5)] == [200] * 5
    assert len(look_ups) - before == 1


@pytest.mark.django_db(transaction=True)
async def test_requests_that_come_together_share_one_look_up(
    state: str, alice: Actor, look_ups: list[float], request: pytest.FixtureRequest
) -> None:
    settled()
    if state == "redis":
        forget_marks(request.getfixturevalue("valkey"))
    callers = await asyncio.gather(*(Recognition(f"Bearer {alice.key}", "").caller() for _ in range(20)))
    assert {caller.user.pk for caller in callers} == {alice.user.pk}
    assert len(look_ups) == 1


@pytest.mark.django_db(transaction=True)
async def test_who_comes_after_a_change_does_not_join_a_look_up_from_before(
    no_marks: None, alice: Actor, look_ups: list[float]
) -> None:
    settled()
    first = asyncio.create_task(Recognition(f"Bearer {alice.key}", "").caller())
    await asyncio.sleep(0)
    caller_cache._mark([str(alice.user.pk)])
    await asyncio.gather(first, Recognition(f"Bearer {alice.key}", "").caller())
    assert len(look_ups) == 2


@pytest.mark.django_db(transaction=True)
async def test_who_comes_after_another_processs_change_does_not_join_a_look_up_from_before(
    valkey: Valkey, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled()
    read_all, may_end, has_read = caller_reader.read_all, threading.Event(), threading.Event()

    def slow(asked: Any) -> Any:
        found = read_all(asked)
        has_read.set()
        assert may_end.wait(5)
        return found

    await Recognition(f"Bearer {alice.key}", "").caller()
    [(key, entry)] = caller_cache._known.items()
    caller_cache._known[key] = dataclasses.replace(entry, at=entry.at - caller_cache.SHARED_SECONDS)
    monkeypatch.setattr(caller_reader, "read_all", slow)
    before = asyncio.create_task(Recognition(f"Bearer {alice.key}", "").caller())
    await asyncio.to_thread(has_read.wait, 5)
    await AccessToken.objects.filter(user=alice.user).aupdate(revoked_at=timezone.now())
    await asyncio.to_thread(change_marks.write, caller_cache._mark_name(str(alice.user.pk)))
    after = asyncio.create_task(Recognition(f"Bearer {alice.key}", "").caller())
    await asyncio.sleep(0.1)
    may_end.set()
    assert (await before).user.pk == alice.user.pk
    with pytest.raises(InvalidApiKey):
        await after


def test_an_unknown_key_is_not_kept(http: httpx.Client, look_ups: list[float]) -> None:
    answers = [http.post(CHAT, json=HELLO, headers={"Authorization": "Bearer sk-x"}).status_code for _ in range(3)]
    assert answers == [401] * 3
    assert len(look_ups) == 3 and not caller_cache._known


def revoke(alice: Actor) -> None:
    services.revoke(AccessToken.objects.get(user=alice.user, kind=AccessToken.Kind.API_KEY))


def disable(alice: Actor) -> None:
    change_user(alice.user, is_active=False)


def expire(alice: Actor) -> None:
    from django.utils import timezone

    key = AccessToken.objects.get(user=alice.user, kind=AccessToken.Kind.API_KEY)
    key.expiry = timezone.now()
    key.save(update_fields=["expiry"])


@pytest.mark.parametrize("take_away", [revoke, disable, expire])
def test_what_is_taken_away_holds_for_the_next_request(
    state: str, http: httpx.Client, alice: Actor, take_away: Any
) -> None:
    settled()
    assert chat(http, alice) == 200
    take_away(alice)
    assert chat(http, alice) == 401


def test_another_process_learns_of_it_by_redis(valkey: Valkey, http: httpx.Client, alice: Actor) -> None:
    settled()
    forget_marks(valkey)
    assert chat(http, alice) == 200 and caller_cache._known
    entries = dict(caller_cache._known)
    revoke(alice)
    caller_cache._latest.clear()  # they are the other process's
    caller_cache._known.update(entries)
    assert chat(http, alice) == 401


def test_a_request_whose_caller_is_looked_up_anew_is_one_hit(valkey: Valkey, http: httpx.Client, alice: Actor) -> None:
    settled()
    forget_marks(valkey)

    def remaining() -> int:
        return int(http.post(CHAT, json=HELLO, headers=alice.headers).headers["RateLimit-Remaining"])

    left = remaining()
    caller_cache.changed(alice.user.pk)
    caller_cache._latest.clear()  # another process's: this one learns of the change after it asked Redis for the rate
    assert remaining() == left - 1


def test_without_marks_an_entry_lives_a_second_at_most(no_marks: None, http: httpx.Client, alice: Actor) -> None:
    settled()
    assert chat(http, alice) == 200
    revoke(alice)
    caller_cache._latest.clear()  # it was another process that revoked it
    time.sleep(caller_cache.ALONE_SECONDS)
    assert chat(http, alice) == 401


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the other engines need Redis for it")
def test_on_sqlite_a_change_by_another_process_holds_for_the_next_request_without_redis(
    http: httpx.Client, alice: Actor, look_ups: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_cache, "FRESH_SECONDS", 60.0)
    settled()
    assert [chat(http, alice) for _ in range(2)] == [200] * 2
    time.sleep(caller_cache.ALONE_SECONDS)
    assert chat(http, alice) == 200
    assert len(look_ups) == 1
    revoke(alice)
    caller_cache._latest.clear()  # it was another process that revoked it: this one has the file alone
    assert chat(http, alice) == 401


def test_a_look_up_that_was_under_way_brings_nothing_back(
    state: str, http: httpx.Client, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was read, then the key was revoked, and only then is the entry kept."""
    settled()

    def overtaken(*asked: Any) -> Any:
        caller = authenticate(*asked)
        revoke(alice)
        return caller

    with monkeypatch.context() as patch:
        patch.setattr(caller_reader, "authenticate", overtaken)
        chat(http, alice)
    assert chat(http, alice) == 401


def test_a_role_and_a_limit_hold_for_the_next_request(http: httpx.Client, alice: Actor, settings: Any) -> None:
    settings.RATE_LIMIT_ADMIN = "77/min"
    settled()
    assert chat(http, alice) == 200
    change_user(alice.user, role=Role.ADMIN)
    answer = http.post(CHAT, json=HELLO, headers=alice.headers)
    assert answer.headers["RateLimit-Limit"] == "77"
    key = AccessToken.objects.get(user=alice.user, kind=AccessToken.Kind.API_KEY)
    key.rate_limit = "1/min"
    key.save()
    assert [chat(http, alice) for _ in range(2)] == [200, 429]


def test_a_member_who_was_removed_acts_for_the_team_no_more(http: httpx.Client, alice: Actor, bob: Actor) -> None:
    team = Client(headers={"Authorization": f"Bearer {alice.token}"}).post(
        "/api/v1/organizations", {"name": "Team"}, content_type="application/json"
    )
    organization = Membership.objects.get(organization_id=team.json()["id"]).organization
    Membership.objects.create(organization=organization, user=bob.user, role=Membership.Role.MEMBER)
    login = {"Authorization": f"Bearer {bob.token}", **in_team(str(organization.pk))}
    settled()
    assert http.post(CHAT, json=HELLO, headers=login).status_code == 402  # a team has no starter credits
    teams.remove_member(Membership.objects.get(organization=organization, user=alice.user), bob.user.pk)
    assert http.post(CHAT, json=HELLO, headers=login).status_code == 404


def test_memory_is_bounded(http: httpx.Client, alice: Actor, bob: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller_cache, "MOST", 1)
    settled()
    assert [chat(http, who) for who in (alice, bob, alice)] == [200] * 3
    assert len(caller_cache._known) == 1
