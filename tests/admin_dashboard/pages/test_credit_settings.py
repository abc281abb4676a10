"""Allowances and spending limits in the admin: written in credits, kept in microcredits, and in the audit log."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from accounts.models import AccessToken
from aichat.core.admin import audit_log
from aichat.core.money import CREDIT
from credits.models import CreditPlan
from tests.conftest import Actor

SEPARATED = ["12,5", "1.234,5", "1,000", "1 000", "1\u202f000", "1'000", "1_000", "1e3", "１２"]


def submit(console: Client, page: str, row: Any = None, **values: str) -> Any:
    """Change the page's form as a browser would: what is not named stays as the page shows it."""
    url = reverse(f"admin:{page}_change", args=[row.pk]) if row else reverse(f"admin:{page}_add")
    context = console.get(url).context
    data = {}
    forms = [
        context["adminform"].form,
        *(formset.formset.management_form for formset in context["inline_admin_formsets"]),
    ]
    forms += [form.form for formset in context["inline_admin_formsets"] for form in formset if form.form.instance.pk]
    for form in forms:
        for field in form:
            value = field.value()
            if value not in (None, False):
                data[field.html_name] = value
    return console.post(url, data | values)


def last_change() -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = audit_log.details(LogEntry.objects.latest("pk"))["values"]
    return found


def test_a_plan_is_written_in_credits(console: Client) -> None:
    assert submit(console, "credits_creditplan", role="SUBSCRIBER", amount="1500.25").status_code == 302
    plan = CreditPlan.objects.get()
    assert plan.amount == 1500 * CREDIT + CREDIT // 4
    assert last_change()["amount"] == [None, "1500.25"]
    assert b'value="1500.25"' in console.get(reverse("admin:credits_creditplan_change", args=[plan.pk])).content
    submit(console, "credits_creditplan", plan, amount="20")
    assert last_change() == {"amount": ["1500.25", "20"]}


@pytest.mark.parametrize("amount", ["", "0", "-1", "many", "0.0000001", "9" * 20, *SEPARATED])
def test_an_amount_that_is_none_is_refused(console: Client, amount: str) -> None:
    answer = submit(console, "credits_creditplan", role="USER", amount=amount)
    assert answer.status_code == 200 and answer.context["adminform"].form.errors.keys() == {"amount"}
    assert not CreditPlan.objects.exists()


@pytest.mark.parametrize("owner", ["user", "organization"])
def test_spending_limits_are_set_changed_and_lifted(console: Client, alice: Actor, owner: str) -> None:
    row = getattr(alice, owner)
    for typed, kept in (("2.5", 2_500_000), ("0", 0), ("", None)):
        assert submit(console, f"accounts_{owner}", row, spend_limit_day=typed).status_code == 302
        row.refresh_from_db()
        assert (row.spend_limit_day, row.spend_limit_month) == (kept, None)
    assert last_change() == {"spend_limit_day": ["0", None]}


def test_a_keys_limit_can_be_changed_and_nothing_else_of_it(console: Client, alice: Actor) -> None:
    key = AccessToken.objects.get(user=alice.user, kind="API_KEY")
    submit(console, "accounts_accesstoken", key, spend_limit="7", name="stolen", organization="")
    key.refresh_from_db()
    assert (key.spend_limit, key.name, key.organization_id) == (7 * CREDIT, "test", alice.organization.pk)
    assert last_change() == {"spend_limit": [None, "7"]}


def test_a_keys_other_limits_are_lines_and_boxes(console: Client, alice: Actor) -> None:
    key = AccessToken.objects.get(user=alice.user, kind="API_KEY")
    typed: Any = {"allowed_models": "demo\nother", "allowed_ips": "10.0.0.0/8\n::1", "scopes": ["chat", "read"]}
    submit(console, "accounts_accesstoken", key, spend_limit_day="1.5", rate_limit="9/min", **typed)
    key.refresh_from_db()
    assert (key.allowed_models, key.allowed_ips) == (["demo", "other"], ["10.0.0.0/8", "::1"])
    assert (key.scopes, key.spend_limit_day, key.rate_limit) == (["chat", "read"], 1_500_000, "9/min")
    assert last_change()["scopes"] == ["", "chat, read"]
    page = console.get(reverse("admin:accounts_accesstoken_change", args=[key.pk])).content.decode()
    assert "demo\nother" in page and "10.0.0.0/8\n::1" in page
    answer = submit(console, "accounts_accesstoken", key, allowed_ips="nowhere")
    assert answer.context["adminform"].form.errors.keys() == {"allowed_ips"}
    key.revoke()
    assert (
        "10.0.0.0/8, ::1" in console.get(reverse("admin:accounts_accesstoken_change", args=[key.pk])).content.decode()
    )


def test_a_login_tokens_page_has_nothing_to_change(console: Client, alice: Actor) -> None:
    token = AccessToken.objects.get(user=alice.user, kind="LOGIN")
    url = reverse("admin:accounts_accesstoken_change", args=[token.pk])
    assert console.post(url, {"spend_limit": "7"}).status_code == 403
    AccessToken.objects.filter(pk=token.pk).update(spend_limit=7 * CREDIT)
    assert "7 credits" in console.get(url).content.decode()
