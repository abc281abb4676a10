"""Flags and experiments. Rows are written by `aichat/flags/services.py` only."""

from typing import Any, ClassVar
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from accounts.models import Organization, Role, User
from aichat.core.database.models import Row
from aichat.flags.rules import Audience, ExperimentRule, Treatment, Variant
from aichat.flags.variants import checked_variants

KEY = RegexValidator(r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z", "Use letters, digits and . _ - only.")


def texts(value: object) -> None:
    """Raise `ValidationError` unless a JSON value is a list of texts."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValidationError("Write a list of texts.")


class Targeted(Row):
    """The base of flags and experiments: a key and its audience."""

    key = models.CharField(max_length=80, unique=True, validators=[KEY])
    description = models.TextField(blank=True)
    percentage = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text="Share of the audience, 0 to 100; growing it only adds. Empty: all of it, or only the users named.",
    )
    roles = models.JSONField(
        default=list, blank=True, validators=[texts], help_text="Only users with one of these roles; none: all."
    )
    organizations = models.JSONField(
        default=list,
        blank=True,
        validators=[texts],
        help_text="IDs: only requests for one of these organizations; none: all.",
    )
    users = models.JSONField(
        default=list, blank=True, validators=[texts], help_text="IDs (or e-mail addresses) of users who are always in."
    )
    starts_at = models.DateTimeField(null=True, blank=True, help_text="Not before (UTC).")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Not from here on (UTC).")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True
        ordering: ClassVar[list[str]] = ["key"]

    def __str__(self) -> str:
        return self.key

    def audience(self) -> Audience:
        return Audience(
            percentage=self.percentage,
            roles=frozenset(self.roles),
            organizations=frozenset(UUID(value) for value in self.organizations),
            users=frozenset(UUID(value) for value in self.users),
            starts_at=self.starts_at.timestamp() if self.starts_at else float("-inf"),
            ends_at=self.ends_at.timestamp() if self.ends_at else float("inf"),
        )

    def clean(self) -> None:
        errors: dict[str, str] = {}
        unknown = [role for role in self.roles if role not in Role.values]
        if unknown:
            errors["roles"] = f"There is no role {unknown[0]!r}: the roles are {', '.join(Role.values)}."
        for field, model in (("organizations", Organization), ("users", User)):
            try:
                setattr(self, field, existing(model, getattr(self, field)))
            except ValueError as error:
                errors[field] = str(error)
        if self.starts_at and self.ends_at and self.starts_at >= self.ends_at:
            errors["ends_at"] = "It must come after the start."
        other: type[Targeted] = Experiment if isinstance(self, Flag) else Flag
        if other._default_manager.filter(key=self.key).exists():
            errors["key"] = f"There is {other._meta.verbose_name_raw} of this name already: keys are shared."
        if type(self)._default_manager.filter(pk=self.pk).exclude(key=self.key).exists():
            errors["key"] = "It can't be renamed: users would be drawn anew. Make another."
        if errors:
            raise ValidationError(errors)

    def facts(self) -> dict[str, Any]:
        """The values that an operator can change, as the history writes them."""
        audience = {name: getattr(self, name) for name in ("percentage", "roles", "organizations", "users")}
        schedule = {name: value.isoformat() if (value := getattr(self, name)) else None for name in SCHEDULE}
        return {"description": self.description, **audience, **schedule}


SCHEDULE = ("starts_at", "ends_at")


def existing(model: type[models.Model], wanted: list[str]) -> list[str]:
    """The IDs of the wanted rows, each once, as text; users may be named by e-mail. Raises `ValueError` without a row."""
    if model is User:
        emails = {User.objects.normalize_email(value) for value in wanted if "@" in value}
        by_email = {row.email: str(row.pk) for row in User.objects.filter(email__in=emails)}
        wanted = [by_email.get(User.objects.normalize_email(value), value) for value in wanted]
    ids = {}
    for value in wanted:
        try:
            ids[UUID(value)] = value
        except ValueError:
            raise ValueError(f"There is no {model._meta.verbose_name_raw} {value!r}.") from None
    found = set(model._default_manager.filter(pk__in=ids).values_list("pk", flat=True))
    for row_id, value in ids.items():
        if row_id not in found:
            raise ValueError(f"There is no {model._meta.verbose_name_raw} {value!r}.")
    return [str(row_id) for row_id in ids]


class Flag(Targeted):
    """A feature that is on for its audience while it is enabled."""

    enabled = models.BooleanField(default=False, db_index=True, help_text="Off: for nobody, whatever stands below.")

    def facts(self) -> dict[str, Any]:
        return {"enabled": self.enabled, **super().facts()}


class Experiment(Targeted):
    """Compares variants of how chats are generated, by giving each to a part of an audience.

    The first variant is the control. Once the experiment runs, the columns that decide who gets which variant are fixed
    (`FIXED`), except for the percentage.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", "draft: nobody is in it yet"
        RUNNING = "running", "running"
        FROZEN = "frozen", "frozen: everybody keeps their variant, the results stand still"
        STOPPED = "stopped", "stopped: over, and the winner (if any) is the default"

    class Unit(models.TextChoices):
        USER = "user", "a user keeps the variant"
        CONVERSATION = "conversation", "a conversation keeps it"

    status = models.CharField(max_length=10, choices=Status.choices, default=Status.DRAFT, db_index=True)
    variants = models.JSONField(
        default=list,
        help_text='A list of {"name", "weight", "model", "system", "temperature", "max_tokens"}; the first is the control.'
        " Weights are percentages. What a variant leaves out, and what a request says itself, is not touched.",
    )
    requested_models = models.JSONField(
        default=list,
        blank=True,
        validators=[texts],
        help_text="Only requests for one of these models. None: all; or `auto`, when a variant sets the model.",
    )
    unit = models.CharField(max_length=12, choices=Unit.choices, default=Unit.USER)
    sample_size = models.PositiveIntegerField(
        default=100,
        validators=[MinValueValidator(2)],
        help_text="Users (or conversations) each variant must have before its difference to the control is shown.",
    )
    winner = models.CharField(max_length=50, blank=True, help_text="Of a stopped one: the variant that is the default.")
    started_at = models.DateTimeField(null=True, blank=True, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When the results stood still.")

    # From a status to those that may follow.
    NEXT: ClassVar[dict[str, tuple[str, ...]]] = {
        Status.DRAFT: (Status.RUNNING,),
        Status.RUNNING: (Status.FROZEN, Status.STOPPED),
        Status.FROZEN: (Status.RUNNING, Status.STOPPED),
        Status.STOPPED: (),
    }
    FIXED: ClassVar[tuple[str, ...]] = (
        "variants",
        "requested_models",
        "unit",
        "sample_size",
        "roles",
        "organizations",
    )

    @property
    def is_under_way(self) -> bool:
        return self.status in {self.Status.RUNNING, self.Status.FROZEN}

    def rule(self) -> ExperimentRule:
        return ExperimentRule(
            key=self.key,
            audience=self.audience(),
            variants=tuple(
                Variant(row["name"], row["weight"], Treatment(**{k: v for k, v in row.items() if k in SETTINGS}))
                for row in self.variants
            ),
            models=frozenset(self.requested_models),
            by_conversation=self.unit == self.Unit.CONVERSATION,
            winner=self.winner,
        )

    def clean(self) -> None:
        super().clean()
        self.variants = checked_variants(self.variants)
        self._check_change(Experiment.objects.filter(pk=self.pk).first())
        if self.winner and self.status != self.Status.STOPPED:
            raise ValidationError({"winner": "Only a stopped experiment has a winner: stop it first."})
        if self.winner and self.winner not in [row["name"] for row in self.variants]:
            raise ValidationError({"winner": f"There is no variant {self.winner!r}."})
        if self.is_under_way:
            self._check_overlap()

    def _check_change(self, before: "Experiment | None") -> None:
        status = before.status if before else self.Status.DRAFT
        if self.status not in (status, *self.NEXT[status]) and not (before is None and self.is_under_way):
            following = ", ".join(map(str, self.NEXT[status])) or "nothing"
            raise ValidationError({"status": f"After {status} comes {following}, not {self.status}."})
        if before is None or status == self.Status.DRAFT:
            return
        changed = next((name for name in self.FIXED if getattr(self, name) != getattr(before, name)), None)
        if changed:
            raise ValidationError(
                {changed: "It can't be changed once the experiment has begun: stop it and start another."}
            )
        if status != self.Status.RUNNING and self.percentage != before.percentage:
            raise ValidationError({"percentage": f"It can't be changed while the experiment is {status}."})

    def _check_overlap(self) -> None:
        rule = self.rule()
        for other in Experiment.objects.filter(status__in=[self.Status.RUNNING, self.Status.FROZEN]):
            if other.pk != self.pk and rule.could_meet(other.rule()):
                raise ValidationError(
                    {
                        "status": f"One request could be in this and in {other.key!r}: a request is in one experiment."
                        " Stop that one, or give them different roles, organizations, models or times."
                    }
                )

    def facts(self) -> dict[str, Any]:
        names = ("status", "variants", "requested_models", "unit", "sample_size", "winner")
        return {**{name: getattr(self, name) for name in names}, **super().facts()}


SETTINGS = {"model", "system", "temperature", "max_tokens"}
