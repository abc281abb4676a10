"""The rules of flags and experiments as plain values, without tables or a clock, so that a decision can be checked by hand.

A decision hashes the flag's key and the subject, so every process makes the same decision at all times, and a growing
percentage only adds subjects.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from typing import Any
from uuid import UUID

DEFAULT_ROUTE = "auto"


def bucket(salt: str, subject: object) -> float:
    """A number in [0, 100) that is fixed for salt and subject, and evenly spread over subjects."""
    digest = blake2b(f"{salt}:{subject}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64 * 100


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a decision: nobody in particular, a user, or a user acting for an organization."""

    user: UUID | None = None
    role: str = ""
    organization: UUID | None = None


def subject_of(who: Any) -> Subject:
    """The subject for a `Caller`, a `User`, an anonymous user or None."""
    user = getattr(who, "user", who)
    if user is None or user.pk is None:
        return Subject()
    organization = getattr(who, "organization", None)
    return Subject(user.pk, user.role, organization.pk if organization is not None else None)


@dataclass(frozen=True, slots=True)
class Audience:
    """The subjects of a flag or an experiment.

    Roles and organizations narrow the audience, the percentage takes a share of it, and named users are always in it.
    Without a percentage everybody is in it, or only the named users when nothing but users is named.
    """

    percentage: int | None = None
    roles: frozenset[str] = frozenset()
    organizations: frozenset[UUID] = frozenset()
    users: frozenset[UUID] = frozenset()
    starts_at: float = float("-inf")
    ends_at: float = float("inf")

    def is_open(self, now: float) -> bool:
        """Whether the schedule is on at `now` (Unix seconds)."""
        return self.starts_at <= now < self.ends_at

    def includes(self, key: str, who: Subject, unit: UUID | None) -> bool:
        """Whether `who` is in the audience; `unit` (the user or a conversation) is hashed for the percentage."""
        if who.user in self.users:
            return True
        if not self.could_include(who):
            return False
        if self.percentage is None:
            return bool(self.roles or self.organizations) or not self.users
        if self.percentage == 100:
            return True
        return unit is not None and bucket(key, unit) < self.percentage

    def could_include(self, who: Subject) -> bool:
        """Whether roles and organizations leave room for `who`, whatever the percentage."""
        return (not self.roles or who.role in self.roles) and (
            not self.organizations or who.organization in self.organizations
        )

    def could_meet(self, other: "Audience") -> bool:
        """Whether a subject could be in both audiences at some time. Percentages don't keep two audiences apart."""
        if self.starts_at >= other.ends_at or other.starts_at >= self.ends_at:
            return False
        if self.names_only_users and other.names_only_users:
            return bool(self.users & other.users)
        if self.users or other.users:
            return True
        return not (_apart(self.roles, other.roles) or _apart(self.organizations, other.organizations))

    @property
    def names_only_users(self) -> bool:
        nobody_else = self.percentage == 0 or (self.percentage is None and not (self.roles or self.organizations))
        return bool(self.users) and nobody_else


def _apart(first: frozenset[Any], second: frozenset[Any]) -> bool:
    return bool(first and second) and first.isdisjoint(second)


EVERYBODY = Audience()


@dataclass(frozen=True, slots=True)
class FlagRule:
    key: str
    enabled: bool
    audience: Audience
    is_for_everybody: bool = field(init=False)  # at all times: nobody need ask who and when

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_for_everybody", self.audience in (EVERYBODY, replace(EVERYBODY, percentage=100)))

    def is_on(self, who: Subject, now: float) -> bool:
        return self.enabled and self.audience.is_open(now) and self.audience.includes(self.key, who, who.user)


@dataclass(frozen=True, slots=True)
class Treatment:
    """The effect of experiments on one request: its variant, and values for what the client left open.

    `experiment` is empty when the request is in no experiment; the values may still be those of an earlier winner.
    """

    experiment: str = ""
    variant: str = ""
    unit: UUID | None = None
    model: str = ""
    system: str = ""
    temperature: float | None = None
    max_tokens: int | None = None

    def over(self, base: "Treatment") -> "Treatment":
        """This treatment, with the values that it leaves open taken from `base`."""
        given = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) not in ("", None)}
        return replace(base, **given)


NOTHING = Treatment()


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    weight: int
    treatment: Treatment


@dataclass(frozen=True, slots=True)
class ExperimentRule:
    """`models` are the models a request must have asked for; `by_conversation` splits conversations instead of users."""

    key: str
    audience: Audience
    variants: tuple[Variant, ...]
    models: frozenset[str] = frozenset()
    by_conversation: bool = False
    winner: str = ""

    @property
    def scope(self) -> frozenset[str]:
        """The models the experiment is about (empty: any). A variant sets the model only of requests that left it open."""
        if not self.models and any(variant.treatment.model for variant in self.variants):
            return frozenset({DEFAULT_ROUTE})
        return self.models

    def is_about(self, model: str) -> bool:
        return not self.scope or model in self.scope

    def could_meet(self, other: "ExperimentRule") -> bool:
        """Whether one request could be in both experiments."""
        return self.audience.could_meet(other.audience) and not _apart(self.scope, other.scope)

    def unit(self, who: Subject, conversation: UUID | None) -> UUID | None:
        """The ID that keeps its variant: the conversation's, or the user's (also where there is no conversation)."""
        return conversation if self.by_conversation and conversation else who.user

    def variant_for(self, who: Subject, conversation: UUID | None, now: float) -> Variant | None:
        """The variant of a request, or None when it is not in the experiment."""
        unit = self.unit(who, conversation)
        if unit is None or not self.audience.is_open(now) or not self.audience.includes(self.key, who, unit):
            return None
        # Salted apart from the percentage, so that a ramp draws evenly from all variants.
        point = bucket(f"{self.key}/variant", unit)
        for variant in self.variants:
            point -= variant.weight
            if point < 0:
                return variant
        return self.variants[-1]

    def winning(self) -> Treatment:
        return next((variant.treatment for variant in self.variants if variant.name == self.winner), NOTHING)


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules in force: flags by key, running experiments by key, and stopped ones with a winner, oldest first."""

    flags: dict[str, FlagRule]
    experiments: dict[str, ExperimentRule]
    decided: tuple[ExperimentRule, ...] = ()

    def treatment(
        self, who: Subject, model: str, conversation: UUID | None, now: float, is_off: Callable[[str], bool]
    ) -> Treatment:
        """The treatment of a request of `who` that asked for `model`: at most one variant, laid over earlier winners."""
        result = NOTHING
        for rule in self.decided:
            if rule.is_about(model) and rule.audience.could_include(who) and not is_off(rule.key):
                result = rule.winning().over(result)
        for rule in self.experiments.values():
            if rule.is_about(model) and not is_off(rule.key):
                variant = rule.variant_for(who, conversation, now)
                if variant is not None:
                    exposed = replace(
                        variant.treatment,
                        experiment=rule.key,
                        variant=variant.name,
                        unit=rule.unit(who, conversation),
                    )
                    return exposed if result is NOTHING else exposed.over(result)
        return result
