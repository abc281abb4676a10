"""Real processes over a real database file or server: nothing is spent twice, whoever dies."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.models import Organization
from aichat.core.database import transactions
from aichat.core.money import CREDIT
from credits.models import Hold, LedgerEntry, SpendCounter, Wallet
from credits.services import (
    OperationResult,
    ReferenceTaken,
    RefundTooLarge,
    Reserve,
    Settle,
    apply,
    expire_holds,
    grant,
    hold_expiry,
    refund,
)
from credits.services import wallet_of as open_wallet_of
from credits.verify import problems
from tests.conftest import Actor

pytestmark = pytest.mark.django_db(transaction=True)


def database_url() -> str:
    """The test's own database, as DATABASE_URL says it."""
    facts = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{facts['NAME']}"
    scheme = "postgres" if connection.vendor == "postgresql" else connection.vendor
    user = ":".join(quote(str(facts[part]), safe="") for part in ("USER", "PASSWORD") if facts[part])
    return f"{scheme}://{user}@{facts['HOST']}:{facts['PORT']}/{facts['NAME']}"


def race(meeting: Path, *processes: list[str]) -> list[subprocess.CompletedProcess[str]]:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "aichat.settings", "DATABASE_URL": database_url()}

    def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        where = [*arguments[:3], str(meeting), str(len(processes)), *arguments[3:]]
        command = [sys.executable, "-m", "tests.credits.racer", *where]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(run, processes))


@pytest.mark.skipif(connection.vendor == "mongodb", reason="the address of a replica set is made elsewhere")
@pytest.mark.parametrize(("funds", "limit"), [(30, 1000), (1000, 30)], ids=["wallet", "limit"])
def test_processes_that_spend_one_wallet_spend_it_once(alice: Actor, tmp_path: Path, funds: int, limit: int) -> None:
    alice.set_credits(funds)
    wallet = str(alice.organization.pk)
    *finished, killed = race(tmp_path, *[[wallet, "25", str(limit)]] * 2, [wallet, "25", str(limit), "die"])
    assert [process.returncode for process in finished] == [0, 0], finished[0].stderr[-1000:]
    assert killed.returncode == -9, killed.stderr[-1000:]
    assert alice.wallet.held == CREDIT  # of the process that died: free again only once its time is over
    assert LedgerEntry.objects.filter(kind="CHARGE").count() == 29
    assert expire_holds(timezone.now() + timedelta(hours=1)) == 1
    assert SpendCounter.objects.get().spent == 29 * CREDIT
    assert alice.wallet.available == (funds - 29) * CREDIT
    assert list(problems()) == []


def at_once(work: Callable[[int], Any], times: int = 6) -> list[Any]:
    def one(number: int) -> Any:
        try:
            return work(number)
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


def test_a_wallet_that_many_touch_first_is_opened_once() -> None:
    organization = Organization.objects.create(name="Team")
    found = at_once(lambda number: open_wallet_of(organization))
    assert {type(one) for one in found} == {Wallet}
    assert Wallet.objects.count() == 1


def test_first_reservations_of_a_person_find_the_starter_credits_once(alice: Actor) -> None:
    def reserve(number: int) -> OperationResult:
        operation = Reserve(wallet_id=alice.organization.pk, amount=CREDIT, expires_at=hold_expiry())
        return apply([operation])[0].or_raise()

    assert {type(outcome) for outcome in at_once(reserve)} == {OperationResult}
    assert LedgerEntry.objects.filter(kind="STARTER").count() == 1
    assert alice.wallet.held == 6 * CREDIT


def test_a_grant_that_many_make_with_one_reference_is_made_once(alice: Actor) -> None:
    alice.set_credits(0)
    outcomes = at_once(lambda number: grant(alice.organization, CREDIT, reason="r", reference="once"))
    assert sorted(outcome.repeated for outcome in outcomes) == [False] + [True] * 5
    assert alice.wallet.available == CREDIT


def test_refunds_of_one_charge_made_at_once_stay_within_it(alice: Actor) -> None:
    alice.set_credits(10)
    operation = Reserve(wallet_id=alice.organization.pk, amount=10 * CREDIT, expires_at=hold_expiry())
    apply([operation])
    charge = apply([Settle(hold=operation.hold, charge=10 * CREDIT)])[0].entry
    assert charge
    outcomes = at_once(lambda number: refund(charge, 3 * CREDIT, reason="r"))
    assert [type(outcome) for outcome in outcomes].count(RefundTooLarge) == 3
    assert alice.wallet.available == 9 * CREDIT
    assert list(problems()) == []


def test_settlers_of_one_hold_charge_it_once(alice: Actor) -> None:
    alice.set_credits(10)
    operation = Reserve(wallet_id=alice.organization.pk, amount=5 * CREDIT, expires_at=hold_expiry())
    apply([operation])
    outcomes = at_once(lambda number: apply([Settle(hold=operation.hold, charge=2 * CREDIT)])[0])
    assert sorted(outcome.repeated for outcome in outcomes) == [False] + [True] * 5
    assert Hold.objects.get().state == "SETTLED" and alice.wallet.available == 8 * CREDIT


def named(actor: Actor, reference: str = "once") -> Reserve:
    return Reserve(wallet_id=actor.organization.pk, amount=CREDIT, expires_at=hold_expiry(), reference=reference)


@pytest.mark.parametrize("joined", [False, True], ids=["alone", "in a caller's transaction"])
def test_a_second_hold_with_one_reference_is_refused_at_once(alice: Actor, joined: bool, either_way: str) -> None:
    """Not repeated: its maker would go on to settle a hold that there is not."""
    alice.set_credits(10)
    first, second, other = named(alice), named(alice), named(alice, "other")
    apply([first])[0].or_raise()
    began = monotonic()
    again, taken, good = (
        transactions.run_atomic(apply, [first, second, other]) if joined else apply([first, second, other])
    )
    assert monotonic() - began < settings.DATABASE_TIMEOUT / 4
    assert again.repeated and isinstance(taken.error, ReferenceTaken) and good.error is None
    assert set(Hold.objects.values_list("id", flat=True)) == {first.hold_id, other.hold_id}
    assert alice.wallet.held == 2 * CREDIT
    assert list(problems()) == []


def test_of_holds_with_one_reference_in_one_list_the_first_is_made(alice: Actor) -> None:
    alice.set_credits(10)
    outcomes = apply([named(alice), named(alice)])
    assert [type(outcome.error) for outcome in outcomes] == [type(None), ReferenceTaken]
    assert Hold.objects.count() == 1 and alice.wallet.held == CREDIT


def test_of_holds_with_one_reference_made_at_once_one_is_made(alice: Actor, bob: Actor) -> None:
    for person in (alice, bob):
        person.set_credits(10)
    apply([named(bob)])[0].or_raise()  # another wallet's: no matter
    outcomes = at_once(lambda number: apply([named(alice)])[0])
    assert sorted(isinstance(outcome.error, ReferenceTaken) for outcome in outcomes) == [False] + [True] * 5
    assert alice.wallet.held == CREDIT
    assert list(problems()) == []
