"""Generates demonstration data: users, teams, conversations, usage, credits, feedback and events of the last weeks.

The same seed generates the same data on the same day. Credits are booked by `credits.backfill`, so `verify_ledger` passes.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from accounts.models import Membership, Organization, Role, User
from accounts.tenancy import personal_organization
from admin_dashboard.demo.content import DOMAIN, EXPERIMENT, FIRST, LAST, MODELS, STATUSES, TALKS, TEAMS, VARIANTS, Sold
from aichat.analytics.models import Event, FirstTime, first_time_key
from aichat.catalog import sync
from aichat.chat.models import Conversation, Feedback, Message
from aichat.core.database import statements, transactions
from aichat.core.database.models import uuid7
from aichat.core.money import CREDIT
from aichat.core.telemetry import product_events
from aichat.flags.models import Experiment
from aichat.providers.registry import DEMO_KINDS
from aichat.usage.models import UsageRecord
from credits.backfill import Kind, Movement, write_history

Progress = Callable[[str, int, int], None]  # called with the name of the step, the number done and the total
AT_ONCE = 2000
CHATS_A_DAY = 7
MARGIN = 1.25  # ratio of the users' prices to the provider's cost


def demo_users() -> Any:
    return User.objects.filter(email__endswith=f"@{DOMAIN}")


def has_real_data() -> bool:
    """Return whether users exist beyond the generated ones and administrators who only tried the demo models."""
    others = User.objects.exclude(email__endswith=f"@{DOMAIN}")
    used = UsageRecord.objects.filter(user__in=others).exclude(provider__in=DEMO_KINDS)
    return others.exclude(role=Role.ADMIN).exists() or used.exists()


@dataclass(slots=True)
class Rows:
    """The generated rows besides the ledger's, in the order in which they must be inserted."""

    conversations: list[Conversation] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    records: list[UsageRecord] = field(default_factory=list)
    feedback: list[Feedback] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def write(self) -> None:
        for rows in (self.conversations, self.messages, self.records, self.feedback, self.events):
            for start in range(0, len(rows), AT_ONCE):
                transactions.run_atomic(statements.insert, rows[start : start + AT_ONCE])


class Demo:
    """Generates `users` users and their activity over `days` days."""

    def __init__(self, *, users: int, days: int, seed: int, progress: Progress) -> None:
        self.dice = random.Random(seed)
        self.users, self.days, self.progress = users, days, progress
        self.now = timezone.now()
        self.start = datetime.combine(self.now.astimezone(UTC).date(), time(), UTC) - timedelta(days=days - 1)

    def make(self) -> int:
        """Generate and insert everything; return the number of chats."""
        sync.add_known([model.slug for model in MODELS])
        people = [self.person(number) for number in range(self.users)]
        self.teams(people)
        Experiment.objects.get_or_create(
            key=EXPERIMENT,
            defaults={
                "status": Experiment.Status.STOPPED,
                "description": "A shorter answer, liked as much?",
                "variants": [{"name": name, "weight": 50} for name in VARIANTS],
                "started_at": self.start,
                "ended_at": self.now,
            },
        )
        chats = 0
        for number, user in enumerate(people, start=1):
            chats += Life(self, user).live()
            self.progress("people", number, self.users)
        return chats

    def person(self, number: int) -> User:
        first, last = FIRST[number % len(FIRST)], self.dice.choice(LAST)
        joined = self.start + timedelta(seconds=self.dice.triangular(0, self.days * 86_400 * 0.8, 0))
        user = User(
            email=f"{first}.{last}.{number}@{DOMAIN}".lower(),
            name=f"{first} {last}",
            role=Role.SUBSCRIBER if self.dice.random() < 0.3 else Role.USER,
            created_at=min(joined, self.now),
            analytics_consent=self.dice.choice([None, True, False]),
        )
        user.set_unusable_password()  # nobody logs in as a person of the demonstration
        user.save()
        personal_organization(user)
        return user

    def teams(self, people: list[User]) -> None:
        for name in TEAMS[: len(people) // 4]:
            team = Organization.objects.create(name=f"{name} (demo)", created_at=self.start)
            for number, user in enumerate(self.dice.sample(people, 4)):
                role = Membership.Role.MEMBER if number else Membership.Role.OWNER
                Membership.objects.create(organization=team, user=user, role=role, created_at=self.start)


class Life:
    """Generates one user's activity."""

    def __init__(self, demo: Demo, user: User) -> None:
        self.dice, self.user, self.demo = demo.dice, user, demo
        self.organization = personal_organization(user)
        self.rows = Rows()
        self.moves: list[Movement] = []
        self.balance = 0
        self.zeal = demo.dice.lognormvariate(0, 0.7) * CHATS_A_DAY
        self.variant = demo.dice.choice(VARIANTS)

    def live(self) -> int:
        """Generate and insert everything that the user did; return the number of chats."""
        joined = self.user.created_at
        self.credit(Kind.STARTER, 100, joined, "Welcome")
        self.tell(product_events.SignedUp.name, joined, method="password")
        moments = self.moments(joined)
        for moment in moments:
            self.chat(moment)
        if moments:
            self.tell(product_events.FirstChat.name, moments[0], model=self.rows.records[0].model)
            FirstTime.objects.create(pk=first_time_key(self.user.pk, product_events.FirstChat.name))
        write_history(self.organization.pk, self.moves)
        self.rows.write()
        return len(moments)

    def moments(self, joined: datetime) -> list[datetime]:
        """Return the moments at which the user chats: more on working days and by day than otherwise."""
        found = []
        for day in range(self.demo.days):
            midnight = self.demo.start + timedelta(days=day)
            pace = self.zeal * (0.3 if midnight.weekday() >= 5 else 1) * (0.7 + 0.6 * day / self.demo.days)
            for _ in range(int(self.dice.gauss(pace, pace / 3))):
                found.append(midnight + timedelta(hours=min(23.9, max(0.0, self.dice.gauss(13.5, 3.5)))))
        return sorted(moment for moment in found if joined < moment <= self.demo.now)

    def credit(self, kind: Kind, credits: int, at: datetime, reason: str) -> None:
        self.moves.append(Movement(kind=kind, amount=credits * CREDIT, at=at, reason=reason))
        self.balance += credits * CREDIT

    def chat(self, at: datetime) -> None:
        if self.balance < 8 * CREDIT and self.dice.random() < 0.4:
            self.credit(Kind.GRANT, self.dice.choice([100, 200, 500]), at - timedelta(seconds=30), "Monthly budget")
        model = pick_model(self.dice)
        record = usage_record(self.dice, self.user, self.organization.pk, model, at)
        record.experiment, record.variant, record.unit = EXPERIMENT, self.variant, self.user.pk
        cost = record.cost_nanousd * float(settings.CREDITS_PER_USD) / 1000
        record.saved = round(record.saved_nanousd * float(settings.CREDITS_PER_USD) / 1000 * MARGIN)
        charge = 0 if record.status not in ("ok", "partial") else round(cost * MARGIN)
        if charge > self.balance:
            self.tell(
                product_events.RefusedForCredits.name, at, record.request_id, model=model.slug, affordable=self.balance
            )
            return
        if charge:
            hold = uuid7()
            self.moves.append(
                Movement(kind=Kind.CHARGE, amount=-charge, at=at, request_id=record.request_id, hold_id=hold)
            )
            record.charged, record.hold_id, record.reference = charge, hold, str(hold)
            was, self.balance = self.balance, self.balance - charge
            if self.balance < 10 * CREDIT <= was:
                self.tell(product_events.CreditsLow.name, at, record.request_id, balance=self.balance)
        self.rows.records.append(record)
        if record.status != "ok":
            facts = {"model": model.slug, "provider": model.provider, "outcome": record.status, "charged": charge}
            self.tell(product_events.ChatFailed.name, at, record.request_id, **facts)
            return
        self.tell(
            product_events.ChatCompleted.name, at, record.request_id, model=model.slug, provider=model.provider,
            charged=charge, streamed=record.streamed, fallback=record.fallback, cached=record.cached,
            input_tokens=record.input_tokens, output_tokens=record.output_tokens, latency_ms=record.latency_ms,
        )  # fmt: skip
        self.converse(record)

    def converse(self, record: UsageRecord) -> None:
        """Store one chat in a conversation, a new one half of the time, and sometimes a rating of it."""
        question, answer = self.dice.choice(TALKS)
        at = record.created_at
        if not self.rows.conversations or self.dice.random() < 0.5:
            self.rows.conversations.append(
                Conversation(organization=self.organization, user=self.user, title=question, created_at=at)
            )
        conversation = self.rows.conversations[-1]
        conversation.updated_at = at
        turn = {"conversation_id": conversation.pk, "request_id": record.request_id, "created_at": at}
        asked = Message(role=Message.Role.USER, content=question, **turn)
        said = Message(
            role=Message.Role.ASSISTANT, content=answer, model=record.model, provider=record.provider,
            finish_reason="stop", **turn,
        )  # fmt: skip
        self.rows.messages += [asked, said]
        if self.dice.random() < 0.12:
            self.rate(said, record)

    def rate(self, said: Message, record: UsageRecord) -> None:
        rating = 1 if self.dice.random() < (0.86 if self.variant == "short" else 0.78) else -1
        at = min(record.created_at + timedelta(seconds=40), self.demo.now)
        self.rows.feedback.append(
            Feedback(
                message=said, organization=self.organization, user=self.user, rating=rating, model=record.model,
                experiment=record.experiment, variant=record.variant, created_at=at,
            )
        )  # fmt: skip
        self.tell(product_events.FeedbackGiven.name, at, model=record.model, rating=rating)

    def tell(self, name: str, at: datetime, request_id: str = "", **facts: Any) -> None:
        self.rows.events.append(
            Event(
                name=name, user_id=self.user.pk, organization_id=self.organization.pk, request_id=request_id,
                facts=facts, created_at=at,
            )
        )  # fmt: skip


# --- Usage ------------------------------------------------------------------------------------------------------------

_models, _shares = MODELS, [model.share for model in MODELS]
Source = UsageRecord.Source
_statuses, _weights = list(STATUSES), list(STATUSES.values())


def pick_model(dice: random.Random) -> Sold:
    return dice.choices(_models, _shares)[0]


def usage_record(
    dice: random.Random, user: User, organization_id: UUID, model: Sold, at: datetime, **more: Any
) -> UsageRecord:
    """Return a usage record of one made-up request, without a charge."""
    status = dice.choices(_statuses, _weights)[0]
    delivered = status in ("ok", "partial", "cancelled")
    input_tokens = int(dice.lognormvariate(6.3, 0.8))
    output_tokens = int(dice.lognormvariate(5.8, 0.7)) if delivered else 0
    cached = status == "ok" and dice.random() < 0.07  # a prompt cache hit, which costs nobody anything
    latency = dice.randint(2, 6) if cached else int(model.pace * dice.lognormvariate(0, 0.45)) + output_tokens
    streamed = dice.random() < 0.6
    cost = model.cost_nanousd(input_tokens, output_tokens) if delivered else 0
    return UsageRecord(
        request_id=f"demo-{dice.getrandbits(64):016x}",
        organization_id=organization_id,
        user_id=user.pk,
        requested_model="auto",
        model=model.slug,
        provider=model.provider,
        status=status,
        streamed=streamed,
        cached=cached,
        fallback=not cached and dice.random() < 0.04,
        finish_reason="stop" if status == "ok" else "",
        input_tokens=input_tokens if delivered else 0,
        output_tokens=output_tokens,
        source=source_of(status, output_tokens),
        reported={"output": 5_000_000_000} if source_of(status, output_tokens) == Source.IMPLAUSIBLE else None,
        cost_nanousd=0 if cached else cost,
        saved_nanousd=cost if cached else 0,
        prices=model.prices(),
        latency_ms=latency,
        first_token_ms=latency // 3 if streamed and delivered else None,
        created_at=at,
        day=at.date(),
        **more,
    )


def source_of(status: str, output_tokens: int) -> str:
    """Return where a made-up record's figures come from. About one in 200 answers reports figures that nobody believes."""
    if status != "ok":
        return Source.ESTIMATED
    return Source.IMPLAUSIBLE if output_tokens % 199 == 0 else Source.EXACT


def add_usage(count: int, *, days: int, seed: int, progress: Progress) -> None:
    """Insert `count` further usage records of the generated users, spread over `days`, oldest first.

    They carry no charge; they exist to measure queries at scale."""
    dice = random.Random(seed)
    people = [(user, personal_organization(user).pk) for user in demo_users().order_by("email")]
    now = timezone.now()
    first = now - timedelta(days=days)
    made = 0
    for batch in batches(count, AT_ONCE):
        rows = []
        for number in range(made, made + batch):
            user, organization_id = dice.choice(people)
            at = first + (now - first) * (number / count)
            rows.append(usage_record(dice, user, organization_id, pick_model(dice), at))
        transactions.run_atomic(statements.insert, rows)
        made += batch
        progress("usage records", made, count)


def batches(count: int, size: int) -> Iterator[int]:
    while count > 0:
        yield min(size, count)
        count -= size
