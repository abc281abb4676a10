"""The ledger as one would write it in an afternoon, in memory and for one thread: what the real one is compared with."""

from dataclasses import dataclass, field


@dataclass
class PlainHold:
    wallet: int
    amount: int
    state: str = "OPEN"
    charge: int = 0
    refunded: int = 0
    counted: bool = False


@dataclass
class PlainLedger:
    """Wallets 0, 1 … with a spending limit over all of them; every verb answers what the real one must."""

    limit: int
    available: list[int]
    held: list[int]
    spent: int = 0
    entries: list[list[tuple[str, int]]] = field(default_factory=list)
    holds: dict[str, PlainHold] = field(default_factory=dict)
    references: set[str] = field(default_factory=set)

    def reserve(self, name: str, wallet: int, amount: int, limited: bool) -> str:
        if name in self.holds:
            return "repeated"
        if limited and self.spent + amount > self.limit:
            return "limited"
        if amount > self.available[wallet]:
            return "refused"
        self.available[wallet] -= amount
        self.held[wallet] += amount
        self.spent += amount if limited else 0
        self.holds[name] = PlainHold(wallet, amount, counted=limited)
        return "done"

    def settle(self, name: str, charge: int) -> str:
        hold = self.holds[name]
        if hold.state not in {"OPEN", "EXPIRED"}:
            return "repeated"
        from_hold = hold.amount if hold.state == "OPEN" else 0
        taken = min(charge, from_hold + self.available[hold.wallet])
        self.held[hold.wallet] -= from_hold
        self.available[hold.wallet] += from_hold - taken
        self.spent += taken - from_hold if hold.counted else 0
        hold.state, hold.charge = "SETTLED", taken
        if taken:
            self.entries[hold.wallet].append(("CHARGE", -taken))
        return "done"

    def release(self, name: str, state: str = "RELEASED") -> str:
        hold = self.holds[name]
        if hold.state != "OPEN":
            return "repeated"
        self.held[hold.wallet] -= hold.amount
        self.available[hold.wallet] += hold.amount
        self.spent -= hold.amount if hold.counted else 0
        hold.state = state
        return "done"

    def credit(self, name: str, wallet: int, kind: str, amount: int) -> str:
        if name in self.references:
            return "repeated"
        if self.available[wallet] + amount < 0:
            return "refused"
        self.references.add(name)
        self.available[wallet] += amount
        self.entries[wallet].append((kind, amount))
        return "done"

    def refund(self, name: str, hold_name: str, amount: int) -> str:
        hold = self.holds[hold_name]
        if name in self.references:
            return "repeated"
        if hold.refunded + amount > hold.charge:
            return "too much"
        self.references.add(name)
        hold.refunded += amount
        self.spent -= amount if hold.counted else 0
        self.available[hold.wallet] += amount
        self.entries[hold.wallet].append(("REFUND", amount))
        return "done"
