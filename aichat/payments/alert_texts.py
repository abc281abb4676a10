"""What an alert says, as JSON, as a line of text and as a mail, in the language that is active."""

from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from aichat.payments.models import AlertMessage

Kind = AlertMessage.Kind


def body_of(row: AlertMessage) -> dict[str, Any]:
    """The JSON that a webhook gets."""
    return {
        "type": f"alert.{row.kind}",
        "id": str(row.pk),
        "timestamp": row.created_at.isoformat(),
        "organization": str(row.organization_id) if row.organization_id else None,
        **row.facts,
    }


def text_of(row: AlertMessage) -> str:
    """The alert as one line of text."""
    name = " ".join(row.organization.name.split()) if row.organization else _("This installation")
    return words_of(Kind(row.kind)) % {"name": name, **row.facts}


def words_of(kind: AlertMessage.Kind) -> str:
    match kind:
        case Kind.LOW_BALANCE:
            return _("%(name)s has %(balance)s credits left, which is less than %(low_balance)s.")
        case Kind.BUDGET:
            return _(
                "%(name)s has spent %(spent)s credits in %(month)s: "
                "%(percent)s %% of its budget of %(budget)s are reached."
            )
        case Kind.SPENDING:
            return _("%(name)s has spent %(spent)s credits in the hour from %(hour)s; usual are %(usual)s.")
        case Kind.PAYMENT_FAILED:
            return _("%(name)s: the renewal of the plan %(plan)s was not paid.")
        case Kind.PROVIDER:
            return _("The provider %(provider)s can't be used (%(state)s). %(reason)s")
        case Kind.IMPLAUSIBLE:
            return _("%(model)s reported usage in the last hour that was not believed: %(requests)s answers.")


def subject_of(row: AlertMessage) -> str:
    facts: dict[str, Any] = row.facts
    match Kind(row.kind):
        case Kind.LOW_BALANCE:
            return _("Your credits are low")
        case Kind.BUDGET:
            return _("%(percent)s %% of your budget are spent") % facts
        case Kind.SPENDING:
            return _("Spending is far above the usual")
        case Kind.PAYMENT_FAILED:
            return _("A renewal was not paid")
        case Kind.PROVIDER:
            return _("The provider %(provider)s can't be used") % facts
        case Kind.IMPLAUSIBLE:
            return _("Usage of %(model)s was not believed") % facts


def context_of(row: AlertMessage) -> dict[str, Any]:
    """What the mail's templates show."""
    return {
        "subject": subject_of(row),
        "text": text_of(row),
        "link": settings.APP_URL,
        "is_operators": row.organization_id is None,
    }
