"""A host whose clock is off against the database's is named, and takes nothing of other hosts."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from django.db import connection
from django.utils import timezone

from accounts import invitations, teams
from accounts.api_keys import rotate_api_key
from accounts.authentication import Caller, InvalidApiKey, stored_token
from accounts.key_views import keys_of
from accounts.logins import sessions_of
from accounts.models import AccessToken
from accounts.services import create_login_token
from aichat import health
from aichat.api import stops
from aichat.api.models import ResponseItems, StopRequest
from aichat.api.openai.responses import kept_items
from aichat.catalog import snapshot
from aichat.catalog.models import Price
from aichat.core.database import clock, executor
from aichat.core.database.models import uuid7
from aichat.images import claims
from aichat.images.models import ImageJob
from credits.models import Hold
from credits.services import expire_holds
from tests.conftest import Actor
from tests.images.test_workers import enqueue
from tests.logs import Logs


@pytest.fixture(params=[600, -600])
def off(request: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """This host's clock is ten minutes ahead, or behind."""
    right = clock.now

    def wrong() -> datetime:
        return right() + timedelta(seconds=request.param)

    monkeypatch.setattr(clock, "now", wrong)
    return int(request.param)


def test_readyz_says_nothing_of_a_clock_that_is_right(http: httpx.Client) -> None:
    assert http.get("/readyz").json() == {"status": "ok", "failing": []}


def test_readyz_says_how_far_the_clock_is_off_and_stays_in_service(http: httpx.Client, off: int) -> None:
    answer = http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    if connection.vendor == "sqlite":
        assert "clock_off_seconds" not in answer.json()
    else:
        assert answer.json()["clock_off_seconds"] == pytest.approx(off, abs=2.5)


def test_a_clock_that_is_off_is_a_warning_in_the_log(transactional_db: None, logs: Logs, off: int) -> None:
    asyncio.run(health.compare_clocks())
    executor.close()
    warnings = [line["message"] for line in logs.lines if "clock of this host" in line["message"]]
    if connection.vendor == "sqlite":
        assert warnings == []
    else:
        (warning,) = warnings
        assert ("ahead of" if off > 0 else "behind") in warning


def test_a_host_that_is_ahead_forgets_no_kept_items_and_no_wishes_to_stop(
    alice: Actor, host_goes_ahead: Callable[[], None]
) -> None:
    ResponseItems.objects.create(organization_id=alice.organization.pk, items=[])
    StopRequest.objects.create(answer_id=uuid7(), user=alice.user)
    host_goes_ahead()
    assert (kept_items.forget_expired(), stops.forget_old()) == (0, 0)


def test_a_login_ends_by_the_databases_clock_on_a_host_that_is_ahead(
    alice: Actor, host_goes_ahead: Callable[[], None]
) -> None:
    here, _ = create_login_token(alice.user)
    host_goes_ahead()
    ahead, _ = create_login_token(alice.user)
    assert here.expiry and ahead.expiry and abs(ahead.expiry - here.expiry) < timedelta(minutes=1)
    assert {here.pk, ahead.pk} <= set(sessions_of(alice.user).values_list("pk", flat=True))
    AccessToken.objects.filter(pk=here.pk).update(expiry=clock.shared_now() - timedelta(minutes=1))
    assert here.pk not in sessions_of(alice.user).values_list("pk", flat=True)


def test_a_rotated_key_is_listed_and_goes_on_until_its_end_by_the_databases_clock(
    alice: Actor, host_goes_ahead: Callable[[], None]
) -> None:
    host_goes_ahead()
    key = AccessToken.objects.get(user=alice.user, kind="API_KEY")
    rotate_api_key(key, overlap=timedelta(hours=1), actor=alice.user)
    old = AccessToken.objects.get(digest=key.digest)
    assert old.expiry and timedelta(0) < old.expiry - clock.shared_now() <= timedelta(hours=1)
    assert old in keys_of(Caller(alice.user, alice.organization, old))


def test_a_host_that_is_ahead_neither_ends_nor_prolongs_an_invitation(
    alice: Actor, bob: Actor, charlie: Actor, host_goes_ahead: Callable[[], None]
) -> None:
    by = teams.create_team(alice.user, "Wonderland")
    invitations.ask(by, email=bob.user.email, role="MEMBER")
    host_goes_ahead()
    invitations.ask(by, email=charlie.user.email, role="MEMBER")
    first, second = invitations.open_ones(by).order_by("id")
    assert second.expires_at - first.expires_at < timedelta(minutes=1)


@pytest.mark.usefixtures("catalog")
def test_what_is_over_is_over_by_the_databases_clock(
    transactional_db: None, alice: Actor, off: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute ago is over, the next minute is not: of leases, holds, prices and keys, on a host ten minutes off."""
    if connection.vendor == "sqlite":
        pytest.skip("one host")
    right, key = timezone.now(), AccessToken.objects.filter(user=alice.user, kind="API_KEY")
    moments = {"over": right - timedelta(minutes=1), "running": right + timedelta(minutes=1)}
    jobs = {name: enqueue(alice) for name in moments}
    for name, moment in moments.items():
        ImageJob.objects.filter(pk=jobs[name].pk).update(run_after=moment)
        Hold.objects.filter(pk=jobs[name].hold_id).update(expires_at=moment)
    monkeypatch.setattr(timezone, "now", lambda: right + timedelta(seconds=off))
    monkeypatch.setattr(clock, "_compared", None)
    clock.keep_compared()
    assert [job.pk for job in claims.claim_due(5)] == [jobs["over"].pk]
    assert expire_holds() == 1
    Price.objects.update(effective_at=moments["over"])
    assert snapshot._rates()
    Price.objects.update(effective_at=moments["running"])
    assert not snapshot._rates()
    key.update(expiry=moments["running"])
    assert stored_token(alice.key)
    key.update(expiry=moments["over"])
    with pytest.raises(InvalidApiKey):
        stored_token(alice.key)
