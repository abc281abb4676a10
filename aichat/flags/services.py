"""Writes flags and experiments: validated, recorded in the audit log, and seen at once by this process."""

from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from aichat.core.admin import audit_log
from aichat.core.database import transactions
from aichat.core.errors import InvalidRequest
from aichat.flags import evaluation
from aichat.flags.features import SWITCHES
from aichat.flags.models import Experiment, Flag

Entry = Flag | Experiment


def save(row: Entry, *, actor: User | None) -> None:
    """Write a new or changed row. Raises `InvalidRequest` naming the field at fault."""
    try:
        transactions.run_atomic(_save, row, actor)
    except ValidationError as error:
        raise as_invalid_request(error) from None
    except IntegrityError:  # somebody else made it between our look and our insert
        raise InvalidRequest(f"There is {row.key!r} already.", param="key") from None
    evaluation.forget()


def _save(row: Entry, actor: User | None) -> None:
    row.full_clean()
    before = type(row).objects.filter(pk=row.pk).first()
    row.updated_at = timezone.now()
    if isinstance(row, Experiment):
        _stamp(row)
    row.save()
    _record(row, before.facts() if before else None, row.facts(), actor)


def _stamp(row: Experiment) -> None:
    """Set the moments at which the experiment began and at which its results were frozen."""
    if row.status == Experiment.Status.RUNNING:
        row.started_at, row.ended_at = row.started_at or row.updated_at, None
    elif row.status != Experiment.Status.DRAFT:
        row.ended_at = row.ended_at or row.updated_at


def delete(row: Entry, *, actor: User | None) -> None:
    """Delete a flag or an experiment. Raises `InvalidRequest` for a switch of the product or a begun experiment."""
    if isinstance(row, Flag) and row.key in SWITCHES:
        raise InvalidRequest(f"{row.key!r} is a switch of the product: switch it off instead of deleting it.")
    if isinstance(row, Experiment) and row.status != Experiment.Status.DRAFT:
        raise InvalidRequest("It has begun, and usage records name it: stop it instead of deleting it.")
    transactions.run_atomic(_delete, row, actor)
    evaluation.forget()


def _delete(row: Entry, actor: User | None) -> None:
    _record(row, row.facts(), None, actor)
    row.delete()


def _record(row: Entry, before: dict[str, Any] | None, after: dict[str, Any] | None, actor: User | None) -> None:
    """Add a line to the audit log in the same commit as the change. A change without an actor (a script) has no line."""
    verb = audit_log.ADDED if before is None else audit_log.DELETED if after is None else audit_log.CHANGED
    before, after = before or dict.fromkeys(after or {}), after or dict.fromkeys(before or {})
    values = {name: (before[name], after[name]) for name in after if after[name] != before[name]}
    if actor is not None and values:
        audit_log.record(actor, row, verb, values)


def history(row_type: type[Entry], key: str) -> QuerySet[LogEntry]:
    """The audit log of a flag or an experiment, latest entry first; the entries outlive a deleted row."""
    content_type = ContentType.objects.get_for_model(row_type)
    entries = LogEntry.objects.select_related("user").filter(content_type=content_type, object_repr=key)
    return entries.order_by("-action_time")


def flag_or_switch(key: str) -> Flag | None:
    """The flag's row, a new row for a switch of the product that has none yet, or None."""
    found = Flag.objects.filter(key=key).first()
    if found is None and key in SWITCHES:
        return Flag(key=key, description=SWITCHES[key], enabled=True)
    return found


def as_invalid_request(error: ValidationError) -> InvalidRequest:
    """The first problem of a model's validation as the API's error."""
    field, messages = next(iter(error.message_dict.items())) if hasattr(error, "error_dict") else ("", error.messages)
    return InvalidRequest(messages[0], param=None if field in ("", NON_FIELD_ERRORS) else field)
