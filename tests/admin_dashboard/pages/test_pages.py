"""Every list and page of the admin: it answers, searches and filters, with a bounded number of indexed queries."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from aichat.catalog.models import AIModel, Provider
from tests.admin_dashboard.conftest import ROWS
from tests.conftest import PASSWORD, Actor

MOST_QUERIES = 15  # of a list with 35 rows, sidebar and filters included
PAGES = {model._meta.label: page for model, page in admin.site._registry.items()}
# Tables of some dozens of rows at most: an index would only cost.
SMALL = {"catalog.AIModel", "catalog.Provider", "payments.Plan"}


def url_of(label: str, page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:{label.lower().replace('.', '_')}_{page}", args=args)


def test_a_list_answers_with_a_bounded_number_of_queries(console: Client, many_rows: None) -> None:
    for label in PAGES:
        console.get(url_of(label))  # content types and the like are remembered from here on
        with CaptureQueriesContext(connection) as queries:
            response = console.get(url_of(label))
        assert response.status_code == 200, label
        assert len(queries) <= MOST_QUERIES, "\n".join([label, *(query["sql"][:200] for query in queries)])


def test_a_list_can_be_searched(console: Client, many_rows: None) -> None:
    for label, page in PAGES.items():
        assert page.search_fields, f"{label} has no search"
        for term in ("person3", "person3@example.com", "r7", "demo"):
            assert console.get(url_of(label), {"q": term}).status_code == 200, label


@pytest.mark.parametrize("label", PAGES)
def test_a_filter_has_an_index_behind_it(label: str) -> None:
    page = PAGES[label]
    fields = [entry[0] if isinstance(entry, tuple) else entry for entry in page.list_filter]
    for field in fields:
        if label in SMALL or not isinstance(field, str):
            continue
        column = page.model._meta.get_field(field)
        leading = {index.fields[0].lstrip("-") for index in page.model._meta.indexes}
        assert column.db_index or column.unique or field in leading, f"{label}.{field} has no index"


def test_the_page_of_a_row_answers(console: Client, many_rows: None) -> None:
    for label, page in PAGES.items():
        row = page.model._default_manager.first()
        if row is not None:
            assert console.get(url_of(label, "change", row.pk)).status_code == 200, label


def test_search_finds_exactly_what_was_meant(console: Client, many_rows: None) -> None:
    for label, term, found in (
        ("accounts.User", "person7@", 1),
        ("accounts.AccessToken", "person7@example.com", 1),
        ("usage.UsageRecord", "r7", 1),
        ("usage.UsageRecord", "person7@example.com", 1),
        ("usage.UsageRecord", "person7@", 1),
        ("usage.UsageRecord", "person", ROWS),
        ("usage.UsageRecord", "demo", ROWS),
        ("accounts.AccessToken", "person7@", 1),
        ("chat.Conversation", "person", ROWS),
        ("chat.Conversation", "r7", 1),
        ("credits.LedgerEntry", "person7@example.com", 1),
        ("credits.Hold", "Person 7", 1),
    ):
        response = console.get(url_of(label), {"q": term})
        assert len(response.context["cl"].result_list) == found, (label, term)


def test_nobody_can_write_the_ledger_or_usage(console: Client, many_rows: None) -> None:
    for label in ("credits.LedgerEntry", "credits.Hold", "credits.Wallet", "usage.UsageRecord"):
        rows = PAGES[label].model._default_manager
        row = rows.first()
        before = rows.filter(pk=row.pk).values().get()
        assert console.get(url_of(label, "add")).status_code == 403, label
        assert console.post(url_of(label, "change", row.pk), {"amount": "1"}).status_code == 403, label
        assert console.post(url_of(label, "delete", row.pk), {"post": "yes"}).status_code == 403, label
        console.post(url_of(label), {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"})
        assert rows.filter(pk=row.pk).values().get() == before, label


def test_only_an_admin_gets_in(alice: Actor) -> None:
    client = Client()
    client.force_login(alice.user)
    response = client.get("/admin/")
    assert response.status_code == 302
    assert "/admin/login/" in response["Location"]


def test_login_is_by_e_mail_in_any_case(ada: Actor) -> None:
    client = Client()
    response = client.post("/admin/login/", {"username": "ADA@example.com", "password": PASSWORD})
    assert response.status_code == 302
    assert client.get("/admin/").status_code == 200


def test_guessing_passwords_at_the_login_is_slowed_down(ada: Actor, settings: Any) -> None:
    settings.RATE_LIMIT_AUTH = "3/hour"
    client = Client()
    for _ in range(3):
        client.post("/admin/login/", {"username": "ada@example.com", "password": "wrong"})
    response = client.post("/admin/login/", {"username": "ada@example.com", "password": PASSWORD})
    assert response.status_code == 200
    assert "Too many requests" in response.content.decode()


def test_no_page_shows_a_key_or_its_digest(console: Client, alice: Actor) -> None:
    page = console.get(url_of("accounts.AccessToken", "change", alice_key(alice).pk)).content.decode()
    assert alice.key[:15] in page
    assert alice.key not in page
    assert "digest" not in re.sub(r"/admin/\S+", "", page)


def alice_key(alice: Actor) -> Any:
    return alice.user.auth_token_set.get(name="test")


def test_a_provider_in_use_cannot_be_deleted(console: Client, catalog: None) -> None:
    provider = Provider.objects.get(slug="demo")
    assert console.post(url_of("catalog.Provider", "delete", provider.pk), {"post": "yes"}).status_code == 403
    assert AIModel.objects.filter(provider=provider).exists()
