"""The admin's sidebar, by task, and the palette (Ctrl+K) that finds people, keys, models and requests."""

from time import monotonic
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from unfold.dataclasses import SearchResult

from accounts.models import AccessToken, User
from aichat.catalog import editing, state
from aichat.catalog.models import AIModel, Provider
from aichat.core.snapshot import Snapshot
from aichat.flags.models import Experiment
from aichat.images.models import ImageJob, WebhookDelivery
from aichat.payments.models import Subscription
from aichat.usage.models import UsageRecord

MOST_COUNTED, KEPT = 99, 30.0  # rows, and seconds
GOOD_NEWS = {"flags.experiment", "images.imagejob"}  # pages whose number tells what is going on, not what went wrong
SHORTEST, FOUND = 3, 8  # characters that are looked for; results of each kind

# Title, icon, and the page: a model's list, or the name of a URL.
GROUPS: list[tuple[str, list[tuple[str, str, str]]]] = [
    (
        "Overview",
        [
            ("Dashboard", "dashboard", "admin:index"),
            ("Spending", "leaderboard", "admin_spending"),
            ("Reconciliation", "balance", "admin_reconciliation"),
        ],
    ),
    (
        "People",
        [
            ("People", "person", "accounts.user"),
            ("Organizations", "groups", "accounts.organization"),
            ("Keys and logins", "key", "accounts.accesstoken"),
        ],
    ),
    (
        "Money",
        [
            ("Wallets", "account_balance_wallet", "credits.wallet"),
            ("Entries", "receipt_long", "credits.ledgerentry"),
            ("Holds", "hourglass_empty", "credits.hold"),
            ("Monthly credits", "event_repeat", "credits.creditplan"),
            ("Plans", "sell", "payments.plan"),
            ("Subscriptions", "autorenew", "payments.subscription"),
            ("Payments", "payments", "payments.payment"),
            ("Vouchers", "redeem", "payments.voucher"),
            ("Redeemed vouchers", "done_all", "payments.voucherredemption"),
            ("Alerts", "notifications", "payments.alertmessage"),
            ("Who is alerted", "notification_settings", "payments.alertsettings"),
        ],
    ),
    (
        "Models",
        [
            ("Playground", "play_circle", "admin_playground"),
            ("Models", "smart_toy", "catalog.aimodel"),
            ("Providers", "cloud", "catalog.provider"),
        ],
    ),
    (
        "Activity",
        [
            ("Requests", "list_alt", "usage.usagerecord"),
            ("Conversations", "forum", "chat.conversation"),
            ("Shared conversations", "share", "chat.conversationshare"),
            ("Feedback", "thumbs_up_down", "chat.feedback"),
            ("Pictures", "image", "images.imagejob"),
            ("Webhooks", "webhook", "images.webhookdelivery"),
            ("Events", "timeline", "analytics.event"),
            ("Audit log", "history", "admin.logentry"),
        ],
    ),
    (
        "Experiments",
        [
            ("Experiments", "science", "flags.experiment"),
            ("Flags", "flag", "flags.flag"),
        ],
    ),
    (
        "Settings",
        [
            ("Emptied caches", "mop", "promptcache.invalidation"),
        ],
    ),
]


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar's groups, as Unfold's SIDEBAR wants them; pages with something to do have its number."""
    *groups, (last, settings) = GROUPS
    counted = counts_of_late()
    return [
        {
            "title": title,
            "separator": number > 0,
            "items": [
                {"title": name, "icon": icon, "link": address(page), **badge(counted.get(page, 0), page)}
                for name, icon, page in pages
            ],
        }
        for number, (title, pages) in enumerate([*groups, (last, [*settings, *others()])])
    ]


def badge(number: int, page: str) -> dict[str, str]:
    if not number:
        return {}
    shown = f"{number - 1}+" if number > MOST_COUNTED else str(number)
    return {"badge": shown, "badge_variant": "info" if page in GOOD_NEWS else "warning"}


def read_counts() -> dict[str, int]:
    """Return the number of rows that somebody should look at, by page, up to `MOST_COUNTED` + 1."""
    models, providers = (
        list(editing.with_prices(AIModel.objects.filter(enabled=True))),
        Provider.objects.filter(enabled=True),
    )
    conditions = state.of_models(models)
    of_providers = state.of_providers(providers.prefetch_related("models", "keys"))
    rows: dict[str, QuerySet[Any]] = {
        "payments.subscription": Subscription.objects.filter(is_live=True, status=Subscription.Status.PAST_DUE),
        "images.imagejob": ImageJob.objects.filter(status=ImageJob.Status.QUEUED),
        "images.webhookdelivery": WebhookDelivery.objects.filter(state=WebhookDelivery.State.GIVEN_UP),
        "flags.experiment": Experiment.objects.filter(status=Experiment.Status.RUNNING),
    }
    return {
        "catalog.aimodel": sum(condition.is_problem for condition in conditions.values()),
        "catalog.provider": sum(condition.is_problem for condition in of_providers.values()),
        **{page: len(found.values_list("pk")[: MOST_COUNTED + 1]) for page, found in rows.items()},
    }


counts = Snapshot[dict[str, int]]("the sidebar's counts", read_counts, empty={})


def counts_of_late() -> dict[str, int]:
    """Return the counts, at most `KEPT` seconds old."""
    return counts.current() if monotonic() - counts.read_at > KEPT else counts.value


def others() -> list[tuple[str, str, str]]:
    """Return the lists that no group has, so that no page is out of reach."""
    placed = {page for _, pages in GROUPS for _, _, page in pages}
    models = [model._meta for model in admin.site._registry if model._meta.label_lower not in placed]
    return [(str(meta.verbose_name_plural).capitalize(), "table", meta.label_lower) for meta in models]


def address(page: str) -> str:
    is_model = "." in page
    return reverse(f"admin:{page.replace('.', '_')}_changelist" if is_model else page)


def find(request: HttpRequest, lowered: str) -> list[SearchResult]:
    """Return what the palette finds besides pages for the term as it was typed: IDs may have capitals.

    An index serves each look-up but that of models, of which there are few.
    """
    term = request.GET.get("s", "").strip()
    if len(term) < SHORTEST:
        return []
    return [*people(term), *keys(term), *models(term), *requests(term)]


def people(term: str) -> list[SearchResult]:
    rows = User.objects.filter(email__startswith=term.lower()).order_by("email")[:FOUND]
    return [found(row.email, "Person", "admin:accounts_user_change", row.pk, "person") for row in rows]


def keys(term: str) -> list[SearchResult]:
    if not term.startswith("sk-"):
        return []
    rows = AccessToken.objects.filter(token_key__startswith=term[:15])[:FOUND]
    return [found(str(row), "Key", "admin:accounts_accesstoken_change", row.pk, "key") for row in rows]


def models(term: str) -> list[SearchResult]:
    rows = AIModel.objects.filter(slug__icontains=term).order_by("slug")[:FOUND]
    return [found(row.slug, "Model", "admin:catalog_aimodel_change", row.pk, "smart_toy") for row in rows]


def requests(term: str) -> list[SearchResult]:
    if "/" in term or not UsageRecord.objects.filter(request_id=term).exists():
        return []
    return [found(term, "Request", "admin_request", term, "list_alt")]


def found(title: str, kind: str, view: str, key: Any, icon: str) -> SearchResult:
    return SearchResult(title=title, description=kind, link=reverse(view, args=[key]), icon=icon)
