"""What a first touch makes is made once, however many requests touch first."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from accounts.models import Membership, Organization, User
from accounts.tenancy import personal_organization
from aichat.core.money import CREDIT
from credits.models import LedgerEntry, Wallet
from credits.services import wallet_of
from credits.verify import problems


def at_once(count: int, work: Callable[[], object]) -> list[object]:
    def close_after() -> object:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(close_after) for _ in range(count)]]


@pytest.mark.django_db(transaction=True)
def test_concurrent_first_touches_make_one_organization_one_wallet_and_one_starter_grant() -> None:
    user = User.objects.create_user("dora@example.com")
    wallets = at_once(8, lambda: wallet_of(personal_organization(user)).pk)
    assert len(set(wallets)) == 1
    assert Organization.objects.count() == Membership.objects.count() == Wallet.objects.count() == 1
    entry = LedgerEntry.objects.get()
    assert (entry.kind, entry.amount) == ("STARTER", 100 * CREDIT)
    assert list(problems()) == []


@pytest.mark.django_db
def test_a_team_gets_no_starter_credits() -> None:
    team = Organization.objects.create(name="Team")
    assert wallet_of(team).balance == 0
