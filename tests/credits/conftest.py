"""The ledger's tests run over both ways in which it moves credits, and prove the ledger after each test."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from aichat.core.money import CREDIT
from credits import engines
from credits.lots import lots_of
from credits.models import HoldRef, LedgerEntry
from credits.services import Reserve, Settle, apply, grant, hold_expiry
from credits.verify import problems
from tests.conftest import Actor


@pytest.fixture(params=["engine", "portable"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the statements of the database in use, and with the portable ones they must equal."""
    if request.param == "portable":
        monkeypatch.setattr(engines, "ENGINES", {})
    return str(request.param)


@pytest.fixture
def ledger_stays_right(db: None, either_way: str) -> Iterator[None]:
    """Run over both ways, and prove the ledger afterwards."""
    yield
    assert list(problems()) == []


def reserve(actor: Actor, credits: int, **extra: Any) -> Reserve:
    expires_at = extra.pop("expires_at", None) or hold_expiry()
    return Reserve(wallet_id=actor.organization.pk, amount=credits * CREDIT, expires_at=expires_at, **extra)


def open_hold(actor: Actor, credits: int, **extra: Any) -> Reserve:
    operation = reserve(actor, credits, **extra)
    apply([operation])[0].or_raise()
    return operation


def balances(actor: Actor) -> tuple[int, int]:
    """Available and held, in credits."""
    wallet = actor.wallet
    return wallet.available // CREDIT, wallet.held // CREDIT


@pytest.fixture
def funded(alice: Actor) -> Actor:
    alice.set_credits(100)
    return alice


@pytest.fixture
def poor(alice: Actor) -> Actor:
    alice.set_credits(0)
    return alice


def give(actor: Actor, credits: int, *, days: float | None = None, reference: str = "") -> None:
    expires_at = None if days is None else timezone.now() + timedelta(days=days)
    grant(actor.organization, credits * CREDIT, reason="Test", reference=reference, expires_at=expires_at)


def hold(actor: Actor, credits: int) -> HoldRef:
    made = Reserve(wallet_id=actor.organization.pk, amount=credits * CREDIT, expires_at=hold_expiry())
    apply([made])[0].or_raise()
    return made.hold


def spend(actor: Actor, credits: int) -> LedgerEntry:
    charged = apply([Settle(hold=hold(actor, credits), charge=credits * CREDIT)])[0].or_raise().entry
    assert charged is not None
    return LedgerEntry.objects.get(pk=charged.pk)


def left(actor: Actor) -> list[tuple[str, int]]:
    return [(lot.source, lot.remaining // CREDIT) for lot in lots_of(actor.organization.pk)]
