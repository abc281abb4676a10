"""Random histories of all verbs by several wallets, with repeats, lists and crashes: the ledger and a plain one agree."""

from contextlib import suppress
from typing import Any
from unittest import mock
from uuid import NAMESPACE_OID, uuid5

import pytest
from django.db import IntegrityError
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from accounts.models import Organization, User
from aichat.core.database import transactions
from aichat.core.database.models import uuid7
from aichat.core.database.statements import insert_rows
from credits import ledger
from credits.models import Hold, LedgerEntry, Limit, SpendCounter, Wallet
from credits.operations import Operation, OperationResult, RefundTooLarge
from credits.services import Credit, Kind, Refund, Release, Reserve, Settle, apply, expire_holds, hold_expiry
from credits.verify import problems
from tests.credits.plain_ledger import PlainLedger

WALLETS, START, LIMIT = 2, 50, 60
amounts = st.integers(0, 70)
wallets = st.integers(0, WALLETS - 1)


class Crash(Exception):
    """The process dies: what was not committed never was."""


class Histories(RuleBasedStateMachine):
    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.user = User.objects.create(email=f"{uuid7()}@example.com")
        self.limit = Limit("all", uuid7(), timezone.now().date(), LIMIT)
        self.ids = [Organization.objects.create(name="o").pk for _ in range(WALLETS)]
        self.plain = PlainLedger(LIMIT, [START] * WALLETS, [0] * WALLETS, entries=[[] for _ in self.ids])
        self.done: list[tuple[Operation, Any]] = []
        self.names, self.presumes = 0, False
        for wallet, id_ in enumerate(self.ids):
            apply([Credit(wallet_id=id_, amount=START, reference="start")])
            self.plain.entries[wallet].append(("GRANT", START))

    def name(self) -> str:
        self.names += 1
        return str(uuid5(NAMESPACE_OID, f"{id(self)}{self.names}{self.ids}"))

    def do(self, operations: list[Operation]) -> list[OperationResult]:
        """In turns as any caller does it, and as requests do it together: presuming first that nothing was done before."""
        self.presumes = not self.presumes
        if self.presumes:
            with suppress(IntegrityError):
                return transactions.run_atomic(self.do_new, operations)
        return apply(operations)

    @staticmethod
    def do_new(operations: list[Operation]) -> list[OperationResult]:
        outcomes, rows = ledger.move_new(operations)
        insert_rows(rows)
        return outcomes

    def check(self, operation: Operation, expected: str) -> None:
        """Do it, and compare what came of it."""
        [outcome] = self.do([operation])
        found = "repeated" if outcome.repeated else "done"
        if outcome.error:
            limited = getattr(outcome.error, "extra", {}).get("limit")
            too_much = isinstance(outcome.error, RefundTooLarge)
            found = "limited" if limited else "too much" if too_much else "refused"
        assert found == expected, outcome
        if expected == "done":
            self.done.append((operation, outcome.charged))

    # --- The verbs ----------------------------------------------------------------------------------------------------

    def reservation(self, name: str, wallet: int, amount: int, limited: bool) -> Reserve:
        from uuid import UUID

        return Reserve(
            wallet_id=self.ids[wallet],
            amount=amount,
            hold_id=UUID(name),
            expires_at=hold_expiry(),
            limits=[self.limit] if limited else [],
        )

    @rule(target=holds, wallet=wallets, amount=amounts, limited=st.booleans())
    def reserve(self, wallet: int, amount: int, limited: bool) -> str:
        name = self.name()
        expected = self.plain.reserve(name, wallet, amount, limited)
        self.check(self.reservation(name, wallet, amount, limited), expected)
        return name

    def ref(self, name: str) -> Any:
        return Hold.objects.get(pk=name).ref

    @rule(name=holds, charge=amounts)
    def settle(self, name: str, charge: int) -> None:
        if name in self.plain.holds:
            self.check(Settle(hold=self.ref(name), charge=charge), self.plain.settle(name, charge))

    @rule(name=holds)
    def release(self, name: str) -> None:
        if name in self.plain.holds:
            self.check(Release(hold=self.ref(name)), self.plain.release(name))

    @rule(name=holds)
    def expire(self, name: str) -> None:
        """Its process died, and its time ran out."""
        if name in self.plain.holds:
            Hold.objects.filter(pk=name, state="OPEN").update(expires_at=timezone.now())
            assert expire_holds() == (self.plain.release(name, "EXPIRED") == "done")

    @rule(wallet=wallets, amount=st.integers(1, 40))
    def grant(self, wallet: int, amount: int) -> None:
        name = self.name()
        operation = Credit(wallet_id=self.ids[wallet], amount=amount, reference=name)
        self.check(operation, self.plain.credit(name, wallet, "GRANT", amount))

    @rule(wallet=wallets, amount=st.integers(-60, 40).filter(bool))
    def adjust(self, wallet: int, amount: int) -> None:
        name = self.name()
        operation = Credit(
            wallet_id=self.ids[wallet],
            amount=amount,
            reference=name,
            kind=Kind.ADJUSTMENT,
            actor_id=self.user.pk,
            reason="Corrected",
        )
        self.check(operation, self.plain.credit(name, wallet, "ADJUSTMENT", amount))

    @rule(hold=holds, amount=st.integers(1, 40))
    def refund(self, hold: str, amount: int) -> None:
        charge = LedgerEntry.objects.filter(kind="CHARGE", reference=hold).first()
        if charge:
            name = self.name()
            operation = Refund(charge=charge.charge_ref, amount=amount, reference=name)
            self.check(operation, self.plain.refund(name, hold, amount))

    # --- What goes wrong ----------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """The answer was lost on its way, so the caller does it again."""
        if self.done:
            operation, charged = data.draw(st.sampled_from(self.done))
            [outcome] = self.do([operation])
            expired = isinstance(operation, Release) and operation.if_expired_at
            assert outcome.repeated or expired
            assert outcome.charged == charged

    @rule(
        wallet=wallets,
        amount=st.integers(0, 5),
        at=st.sampled_from([(ledger, "_move_wallets"), (ledger, "insert_rows")]),
    )
    def crash_in_a_commit(self, wallet: int, amount: int, at: tuple[Any, str]) -> None:
        """The process dies with the wallets moved, or with everything written, and nothing committed."""
        real = getattr(*at)

        def then_die(*arguments: Any, **options: Any) -> Any:
            real(*arguments, **options)
            raise Crash

        operations: list[Operation] = [self.reservation(self.name(), wallet, amount, limited=True)]
        operations += [Release(hold=self.ref(name)) for name, hold in self.plain.holds.items() if hold.state == "OPEN"]
        operations += [Credit(wallet_id=self.ids[wallet], amount=7, reference=self.name())]
        with mock.patch.object(*at, then_die), pytest.raises(Crash):
            apply(operations)

    @rule(wallet=wallets, data=st.data())
    def list_of_many(self, wallet: int, data: st.DataObject) -> None:
        """Reservations of both wallets and settlements in one commit, where the order of the list decides."""
        operations: list[Operation] = []
        expected: list[str] = []
        for amount in data.draw(st.lists(st.integers(0, 30), min_size=2, max_size=4)):
            name = self.name()
            operations.append(self.reservation(name, wallet, amount, limited=False))
            expected.append(self.plain.reserve(name, wallet, amount, limited=False))
        outcomes = self.do(operations)
        found = ["refused" if outcome.error else "repeated" if outcome.repeated else "done" for outcome in outcomes]
        assert found == expected

    # --- What is always true ------------------------------------------------------------------------------------------

    @invariant()
    def both_agree(self) -> None:
        found = {row.pk: row for row in Wallet.objects.filter(pk__in=self.ids)}
        for wallet, id_ in enumerate(self.ids):
            assert (found[id_].available, found[id_].held) == (self.plain.available[wallet], self.plain.held[wallet])
            entries = LedgerEntry.objects.filter(wallet_id=id_).order_by("sequence").values_list("kind", "amount")
            assert list(entries) == self.plain.entries[wallet]
        counter = SpendCounter.objects.filter(pk=self.limit.counter_id).first()
        assert (counter.spent if counter else 0) == self.plain.spent
        states = dict(Hold.objects.filter(wallet_id__in=self.ids).values_list("pk", "state"))
        assert {str(pk): state for pk, state in states.items()} == {n: h.state for n, h in self.plain.holds.items()}

    def teardown(self) -> None:
        assert list(problems()) == []


@pytest.mark.django_db(transaction=True)
def test_the_ledger_agrees_with_a_plain_one_in_any_history() -> None:
    health = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Histories,
        settings=settings(max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=health),
    )
