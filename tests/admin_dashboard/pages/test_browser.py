"""An operator's morning in a real browser: log in, look, grant credits, change a role, find a request; and every page."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.urls import reverse
from playwright.sync_api import Page, expect, sync_playwright

from aichat.usage.models import UsageRecord
from tests.admin_dashboard.chromium import CHROMIUM, NO_CHROMIUM, QUIET
from tests.api.test_every_kind import png
from tests.conftest import PASSWORD, Actor
from tests.upstream import Reply, Upstream
from tests.upstream_answers import ANSWER

LISTS = [
    reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist") for model in admin.site._registry
]


@pytest.fixture
def prepared(server: str, catalog: None, ada: Actor, alice: Actor, usage_record: Callable[..., UsageRecord]) -> str:
    """Before the browser starts: it has an event loop of its own, beside which Django asks no database."""
    alice.set_credits(10)
    usage_record(alice, request_id="morning-1", charged=0)  # no charge without its entry
    return server


@pytest.fixture
def page(prepared: str) -> Iterator[Page]:
    """Logged in as Ada. Whatever a page complains of in the console, a refused script for one, fails the test."""
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip(NO_CHROMIUM)
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(base_url=prepared, viewport={"width": 1280, "height": 900})
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on("console", lambda line: complaints.append(f"{page.url}: {line.text}") if line.type == "error" else None)
        page.goto("/admin/login/")
        page.fill("[name=username]", "ada@example.com")
        page.fill("[name=password]", PASSWORD)
        page.click("[type=submit]")
        yield page
        browser.close()
    assert complaints == []


def test_look_grant_promote_and_find(page: Page) -> None:
    expect(page.locator(".dash-card").first).to_contain_text("Requests")
    page.click("text=24 hours")
    expect(page.locator(".dash-chosen")).to_have_text("24 hours")
    expect(page.locator("svg.plot-marks").first).to_be_visible()
    page.click("text=Figures >> nth=0")
    expect(page.locator(".plot-table td").first).to_be_visible()

    page.goto("/admin/accounts/user/")
    page.click("text=alice@example.com")
    page.get_by_role("link", name="Give credits").click()
    page.fill("[name=amount]", "2.5")
    expect(page.locator("[data-worth]")).to_have_text("2.5 credits = $0.0025")
    page.fill("[name=reason]", "A good morning")
    page.get_by_role("button", name="Give 2.5 credits").click()
    expect(page.locator("body")).to_contain_text("2.5 credits granted: the balance is 12.5.")
    expect(page.locator("body")).to_contain_text("A good morning")

    page.goto("/admin/accounts/user/?q=alice")
    page.click("text=alice@example.com")
    page.select_option("[name=role]", "SUBSCRIBER")
    page.click("[name=_save]")
    expect(page.locator("body")).to_contain_text("was changed successfully")
    page.goto("/admin/admin/logentry/")
    expect(page.locator("#result_list")).to_contain_text("role: USER → SUBSCRIBER")

    page.goto("/admin/")
    page.fill(".dash-find [name=id]", "morning-1")
    page.click(".dash-find button")
    expect(page.locator("h1.dash-title")).to_have_text("Request morning-1")
    expect(page.locator(".dash-section").first).to_contain_text("alice@example.com")


def test_two_models_are_compared_in_the_playground(page: Page) -> None:
    page.goto("/admin/playground/")
    page.fill("[name=message]", "Hello!")
    page.check("[name=compare]")
    page.click("text=Ask")
    for column in ("a", "b"):
        answer = page.locator(f"[data-column={column}]")
        expect(answer.locator(".playground-text")).to_contain_text("You wrote: Hello!")
        expect(answer).to_contain_text("demo of demo")
        expect(answer).to_contain_text("First token")
    for column in ("a", "b"):
        page.select_option(f"[data-column={column}] select", "demo-image")
    for picture in (None, {"name": "hat.png", "mimeType": "image/png", "buffer": png()}):
        if picture:
            page.set_input_files("[name=picture]", picture)  # type: ignore[arg-type]
        expect(page.locator("#stop")).to_be_hidden()
        page.click("text=Ask")
        expect(page.locator("[data-column=b] img")).to_be_visible()
        expect(page.locator("[data-column=b]")).to_contain_text("demo-image of demo")
        shown = page.locator("[data-column=b] img").evaluate("image => image.decode().then(() => image.naturalWidth)")
        assert shown > 0
    page.locator("[data-column=b] dd a").click()
    expect(page.locator("body")).to_contain_text("credits held")


class Clicks:
    """Counts the clicks of one task, which begins at the dashboard."""

    def __init__(self, page: Page) -> None:
        self.page, self.count = page, 0
        page.goto("/admin/")

    def click(self, selector: str) -> None:
        self.page.locator(selector).first.click()
        self.page.wait_for_load_state()
        self.count += 1

    def end(self, said: str) -> None:
        expect(self.page.locator("body")).to_contain_text(said)
        assert self.count <= 4


PEOPLE, MODELS, PROVIDERS = (
    f'a[href="/admin/{path}/"]' for path in ("accounts/user", "catalog/aimodel", "catalog/provider")
)


def test_an_operator_s_tasks_take_four_clicks_at_most(page: Page, upstream_server: Upstream, settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    upstream_server.reset()
    upstream_server.plan("openai", Reply("recorded", payload={"data": [{"id": "llama3:8b"}, {"id": "qwen3"}]}))
    task = Clicks(page)
    task.click(PROVIDERS)
    task.click(".choices a:text-is('Ollama')")
    expect(page.locator("[name=base_url]")).to_have_value("http://127.0.0.1:11434/v1")
    page.fill("[name=base_url]", f"{upstream_server.address}/v1")
    task.click("button:has-text('Connect')")
    expect(page.locator("[name=models]:checked")).to_have_count(2)
    task.click("button:has-text('and try one')")
    task.end("llama3:8b answered in")
    expect(page.locator("body")).to_contain_text(ANSWER)

    task = Clicks(page)
    task.click(PEOPLE)
    task.click("text=alice@example.com")
    task.click("a:has-text('Make a key')")
    page.fill("[name=name]", "for her phone")
    page.fill("[name=spend_limit]", "2.5")
    task.click("button:has-text('Make the key')")
    task.end("shown this once")

    task = Clicks(page)
    task.click(PEOPLE)
    task.click('a[href="/admin/accounts/user/add/"]')
    page.fill("[name=email]", "dora@example.com")
    page.fill("[name=password1]", PASSWORD)
    page.fill("[name=password2]", PASSWORD)
    task.click("[name=_save]")
    task.end("was added successfully")

    task = Clicks(page)
    task.click(MODELS)
    task.click("#result_list a:has-text('demo-image')")
    expect(page.locator("body")).to_contain_text("Now 5.")
    page.fill("[name=image_price]", "7")
    task.click("[name=_save]")
    task.end("Prices from now on: image price 5 → 7.")

    task = Clicks(page)
    task.click(MODELS)
    task.click("#result_list a:text-is('demo')")
    task.click("button:has-text('Test now')")
    task.end("demo answered in")

    task = Clicks(page)
    page.keyboard.press("Control+k")
    expect(page.locator("[name=s]:visible")).to_be_focused()
    page.keyboard.type("alice@")
    task.click("a[href^='/admin/accounts/user/']:visible:has-text('alice@example.com')")
    task.end("Credits to spend")


def test_no_page_of_the_admin_complains_and_none_is_wider_than_a_phone(page: Page) -> None:
    """Every list, its form to add, and its first row: scripts and styles load, nothing is refused by the policy."""
    rows = []
    for address in LISTS:
        page.goto(address)
        further = (f'a[href^="{address}add/"]', '#result_list a[href*="/change/"]')
        found = [
            page.locator(selector).first.get_attribute("href") for selector in further if page.locator(selector).count()
        ]
        for link in found:
            page.goto(link or "")
            rows.append(page.url)
    page.goto("/admin/accounts/user/")
    person = page.locator('#result_list a[href*="/change/"]').first.get_attribute("href") or ""
    page.set_viewport_size({"width": 375, "height": 812})
    phone = [
        "/admin/",
        "/admin/playground/",
        "/admin/spending/",
        "/admin/reconciliation/",
        "/admin/requests/morning-1/",
        *LISTS,
        *rows,
        person,
    ]
    for address in [*phone, person.replace("change", "make-key"), person.replace("change", "give-credits")]:
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, address
