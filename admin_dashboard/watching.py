"""Looks every minute for the conditions that the operator is alerted of (`aichat/payments/operator_alerts.py`)."""

from datetime import timedelta

from django.db.models import Count
from django.utils import timezone

from aichat.catalog import state
from aichat.catalog.models import Provider
from aichat.catalog.state import State
from aichat.payments import operator_alerts
from aichat.payments.alerts import HOURS, WEEK, hour_name, is_far_above, spending_facts
from aichat.payments.models import AlertMessage
from aichat.payments.operator_alerts import Facts
from aichat.usage import queries
from aichat.usage.models import UsageRecord
from aichat.usage.windows import Window

Kind = AlertMessage.Kind
HOUR = timedelta(hours=1)
LASTING = timedelta(minutes=2)  # a provider whose last call failed may answer the next one


def watch() -> int:
    """Look at providers, usage and spending; return how many alerts were told. Does nothing where nobody is told."""
    if not operator_alerts.channels():
        return 0
    return (
        operator_alerts.watch(Kind.PROVIDER, providers(), lasting=LASTING)
        + operator_alerts.watch(Kind.IMPLAUSIBLE, implausible())
        + operator_alerts.watch(Kind.SPENDING, spending())
    )


def providers() -> dict[str, Facts]:
    """Return the enabled providers whose every model fails, or none of whose keys can be used, by slug."""
    rows = list(Provider.objects.filter(enabled=True).prefetch_related("models", "keys"))
    conditions = state.of_providers(rows)
    down = {row: conditions[row.pk] for row in rows}
    return {
        row.slug: {"provider": row.slug, "state": str(condition.state), "reason": condition.reason}
        for row, condition in down.items()
        # A vendor's provider without any key is one that nobody set up.
        if condition.state is State.FAILING or (condition.state is State.NO_KEY and row.keys.all())
    }


def implausible() -> dict[str, Facts]:
    """Return the models that reported usage within the last hour that was not believed, by slug."""
    recent = UsageRecord.objects.filter(source=UsageRecord.Source.IMPLAUSIBLE, created_at__gte=timezone.now() - HOUR)
    counts = recent.values_list("model").annotate(requests=Count("id"))
    return {model: {"model": model, "requests": requests} for model, requests in counts}


def spending() -> dict[str, Facts]:
    """Return the last hour's spending of all, when it is far above the usual of the week before it."""
    now = timezone.now()
    spent = queries.sums(Window(now - HOUR, now)).get((), queries.Figures()).charged
    usual = queries.sums(Window(now - WEEK, now - HOUR)).get((), queries.Figures()).charged // HOURS
    return {"all": spending_facts(hour_name(now - HOUR), spent, usual)} if is_far_above(spent, usual) else {}
