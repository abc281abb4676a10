"""What becomes of the subscriptions of a person who leaves for good: sold ones are cancelled first, given ones end."""

from django.db.models import QuerySet
from django.utils.translation import gettext_noop

from accounts import tenancy
from accounts.models import User
from aichat.core.errors import InvalidRequest
from aichat.payments import subscriptions
from aichat.payments.models import AlertMessage, AlertSettings, Subscription

MANUAL = Subscription.Source.MANUAL


class StillPaid(InvalidRequest):
    message = gettext_noop("Your subscription would be paid on and on: cancel it first, where you bought it.")


def check(user: User) -> None:
    """Raise `StillPaid` while the person has a subscription that its seller renews."""
    live = _of(user).filter(cancel_at_period_end=False)
    if live.exclude(source=MANUAL).exclude(status=Subscription.Status.CANCELLED).exists():
        raise StillPaid()


def erase(user: User) -> None:
    """End what an administrator gave, and delete the alerts; what was paid stays, as the ledger does."""
    own = tenancy.personal_organization(user)
    AlertSettings.objects.filter(organization=own).delete()
    AlertMessage.objects.filter(organization=own).delete()
    for row in _of(user).filter(source=MANUAL):
        subscriptions.end_unpaid(row)


def _of(user: User) -> QuerySet[Subscription]:
    return Subscription.objects.filter(organization=tenancy.personal_organization(user), is_live=True)
