"""The dashboard's tables: top users and models, experiments, the providers' health, and warnings."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.urls import reverse

from accounts.models import User
from admin_dashboard.pages.formatting import amount, listing, milliseconds, percent, usage_url, usd
from admin_dashboard.reports.months import Money, last_months, owed
from admin_dashboard.reports.statistics import Statistics
from aichat.catalog import drift, editing, snapshot, state
from aichat.catalog.models import AIModel
from aichat.core.database.batches import column_by_key
from aichat.core.money import credits_in_words, format_credits, to_microcredits
from aichat.core.redis import health
from aichat.flags.models import Experiment
from aichat.generation import circuit_breaker
from aichat.usage import queries
from aichat.usage.histogram import percentile
from aichat.usage.queries import Figures
from credits.models import Wallet

TOP = 8
MOST_WARNINGS = 5  # of a kind
MOST_NAMED = 4  # models in a line
STATES = {
    circuit_breaker.CLOSED: "in use",
    circuit_breaker.OPEN: "left alone",
    circuit_breaker.HALF_OPEN: "being tried",
}


def tables(now: Statistics) -> list[dict[str, Any]]:
    models = sorted(now.by("model").items(), key=lambda item: -item[1].charged)[:TOP]
    people = sorted(queries.sums(now.window, ["user_id"]).items(), key=lambda item: -item[1].charged)[:TOP]
    emails = column_by_key(User, [key[0] for key, _ in people], "email")
    found = [
        kinds(now),
        table("Top models", ((slug, usage_url(now.window, model__exact=slug), row) for slug, row in models)),
        table(
            "Top users",
            ((emails.get(key[0], "?"), usage_url(now.window, user__exact=key[0]), row) for key, row in people),
        ),
    ]
    variants = {key: row for key, row in queries.sums(now.window, ["experiment", "variant"]).items() if key[0]}
    return [months(), *found, *([experiments(now, variants)] if variants else [])]


def months() -> dict[str, Any]:
    """Money, credits and cost of the last months, whatever the window. Only dollars are compared with dollars."""
    return {
        "title": "By month",
        "columns": ["Received", "Given back", "Credits", "Worth", "Cost", "Margin"],
        "rows": [
            (
                f"{month.first:%Y-%m}",
                listing("payments_payment", month.window),
                [
                    money(month.received),
                    money(month.given_back),
                    amount(month.figures.charged),
                    usd(month.figures.charged_usd),
                    usd(month.figures.cost_usd),
                    usd(month.figures.margin_usd),
                ],
            )
            for month in last_months()
        ],
        "is_wide": True,
        "note": 'Money stands in the currency it came in, and is converted nowhere. "Worth" is what the credits charged are '
        "worth by CREDITS_PER_USD; the margin is that less the providers' cost.",
    }


def money(sums: Money) -> str:
    """Return each currency's sum, such as "9.99 EUR + 5 USD"."""
    return " + ".join(f"{format_credits(sums[name])} {name}".strip() for name in sorted(sums) if sums[name]) or "–"


def kinds(now: Statistics) -> dict[str, Any]:
    """Return the table of kinds of requests, with the quantity by which each is priced."""
    rows = sorted(now.by("kind").items(), key=lambda item: (-item[1].charged, item[0]))
    return {
        "title": "By kind",
        "columns": ["Requests", "Quantity", "Credits", "Cost", "Errors"],
        "rows": [
            (
                kind,
                usage_url(now.window, kind__exact=kind),
                [f"{row.requests:,}", quantity(row), amount(row.charged), usd(row.cost_usd), percent(row.error_rate)],
            )
            for kind, row in rows
        ],
    }


def quantity(row: Figures) -> str:
    """Return the quantities that are not zero, such as "1,200 characters"."""
    counts = {
        "tokens": row.input_tokens + row.output_tokens,
        "images": row.images,
        "characters": row.characters,
        "minutes": row.audio_minutes,
    }
    return ", ".join(f"{count:,} {unit}" for unit, count in counts.items() if count) or "–"


def table(title: str, rows: Iterable[tuple[str, str, Figures]]) -> dict[str, Any]:
    return {
        "title": title,
        "columns": ["Requests", "Credits", "Cost", "Errors", "Not exact"],
        "rows": [
            (
                name,
                url,
                [
                    f"{row.requests:,}",
                    amount(row.charged),
                    usd(row.cost_usd),
                    percent(row.error_rate),
                    percent(row.inexact_rate),
                ],
            )
            for name, url, row in rows
        ],
    }


def experiments(now: Statistics, variants: dict[Any, Figures]) -> dict[str, Any]:
    """Return the running experiments' variants with the cost of a request; the results page has the statistics."""
    known = dict(Experiment.objects.filter(key__in={key[0] for key in variants}).values_list("key", "pk"))
    return {
        "title": "Experiments",
        "columns": ["Requests", "Credits each", "Cost each", "Errors"],
        "rows": [
            (
                f"{key}: {variant}",
                reverse("admin:flags_experiment_show_results", args=[known[key]])
                if key in known
                else usage_url(now.window, experiment__exact=key, variant__exact=variant),
                [
                    f"{row.requests:,}",
                    format_credits(row.charged // max(1, row.requests)),
                    usd(row.cost_usd / max(1, row.requests)),
                    percent(row.error_rate),
                ],
            )
            for (key, variant), row in sorted(variants.items())[: 2 * TOP]
        ],
    }


# --- Health -----------------------------------------------------------------------------------------------------------


def provider_health(now: Statistics) -> dict[str, Any]:
    """Return the circuit breaker and request outcomes of every callable model, and who shares the breakers' state."""
    models = [model for model in snapshot.current().values() if model.is_callable]
    is_shared = bool(settings.REDIS_URL)
    is_known = not is_shared or health.ping()
    groups = queries.regroup(now.groups, 1, 2)
    found = (
        circuit_breaker.states(models)
        if is_known
        else [circuit_breaker.Breaker(m.provider.slug, m.slug) for m in models]
    )
    rows = [health_row(now, item, groups.get((item.provider, item.model), Figures()), is_known) for item in found]
    rows.sort(key=lambda row: (not row["is_bad"], -row["weight"]))
    shown = [row for row in rows if row["is_bad"] or row["note"] or row["weight"]] or rows[:TOP]
    if not is_known:
        note = "Redis does not answer, so the breakers' states are not known: every model counts as in use."
    elif is_shared:
        note = "Breakers are shared by all processes over Redis."
    else:
        note = "Without REDIS_URL each process has breakers of its own: these are of the one that made this page."
    return {"rows": shown, "idle": len(rows) - len(shown), "note": note}


def health_row(now: Statistics, item: circuit_breaker.Breaker, row: Figures, is_known: bool) -> dict[str, Any]:
    state = STATES[item.state] if is_known else "not known"
    note = f"for another {item.wait:.0f} s" if item.wait else ""
    if item.failures and not item.wait:
        note = f"{item.failures} failure{'s' if item.failures > 1 else ''} in a row"
    answered = queries.merged(
        h for key, h in now.endings.items() if key[1:3] == (item.provider, item.model) and key[-1] == "ok"
    )
    return {
        "provider": item.provider,
        "model": item.model,
        "state": state,
        "is_bad": item.state != circuit_breaker.CLOSED,
        "note": note,
        "weight": row.requests,
        "url": usage_url(now.window, model__exact=item.model),
        "values": [
            f"{row.requests:,}",
            percent(row.error_rate) if row.requests else "–",
            f"{row.attempts - row.requests:,}",
            milliseconds(percentile(answered, 0.95)),
        ],
    }


# --- Warnings ---------------------------------------------------------------------------------------------------------


def warnings(now: Statistics) -> list[dict[str, str]]:
    """Return the warnings: what costs money, or will soon fail for somebody."""
    by_model = now.by("model")
    found = out_of_order()
    losses = sorted((row.margin_usd, slug) for slug, row in by_model.items() if row.margin_usd < 0)
    for margin, slug in losses[:MOST_WARNINGS]:
        text = f"{slug} loses money: {usd(margin)} margin in this time. Raise its price."
        found.append({"text": text, "url": f"{reverse('admin:catalog_aimodel_changelist')}?q={slug}"})
    if now.total.shortfall:
        text = f"{amount(now.total.shortfall)} credits could not be taken: usage beyond what was held and available."
        found.append({"text": text, "url": usage_url(now.window, shortfall__gt=0)})
    debt = owed()
    if debt:
        text = f"{amount(debt)} credits are owed: their payments were given back after they had been spent."
        found.append({"text": text, "url": f"{reverse('admin:payments_payment_changelist')}?owed=yes"})
    doubtful = [finding for finding in drift.findings(by_model) if finding.is_problem]
    for finding in doubtful[:MOST_WARNINGS]:
        unpriced = " and can't be called" if finding.state == drift.MISSING else ""
        text = f"{finding.model} {finding.text}{unpriced}. Mend: {finding.mend}"
        found.append({"text": text, "url": f"{reverse('admin:catalog_aimodel_changelist')}?q={finding.model}"})
    low = Wallet.objects.select_related("organization").filter(
        available__lt=to_microcredits(settings.LOW_CREDITS), sequence__gt=1
    )
    for wallet in low.order_by("available")[:MOST_WARNINGS]:
        url = reverse("admin:credits_wallet_change", args=[wallet.pk])
        text = f"{wallet.organization} has {credits_in_words(wallet.available)} left."
        found.append({"text": text, "url": url})
    return found


def out_of_order() -> list[dict[str, str]]:
    """Return the enabled models that can't be called now, with the reason; models with the same reason share a line."""
    models = list(editing.with_prices(AIModel.objects.filter(enabled=True)))
    conditions = state.of_models(models)
    slugs: dict[state.Condition, list[str]] = {}
    for model in models:
        condition = conditions[model.pk]
        if condition.is_problem and condition.state is not state.State.NO_PRICE:  # those are in the prices' findings
            slugs.setdefault(condition, []).append(model.slug)
    page = reverse("admin:catalog_aimodel_changelist")
    return [
        {
            "text": f"{', '.join(names[:MOST_NAMED])}{' …' if len(names) > MOST_NAMED else ''}:"
            f" {condition.state}. {condition.reason}",
            "url": f"{page}?q={names[0]}" if len(names) == 1 else page,
        }
        for condition, names in list(slugs.items())[:MOST_WARNINGS]
    ]
