"""An operator's morning in a real browser: log in, look at the figures, grant credits, find a request."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from aichat.usage.models import UsageRecord
from tests.conftest import PASSWORD, Actor

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture
def prepared(server: str, ada: Actor, alice: Actor, usage_record: Callable[..., UsageRecord]) -> str:
    """Before the browser starts: it has an event loop of its own, beside which Django asks no database."""
    alice.set_credits(10)
    usage_record(alice, request_id="morning-1", charged=0)  # no charge without its entry
    return server


@pytest.fixture
def page(prepared: str) -> Iterator[Page]:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("no chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(base_url=prepared, viewport={"width": 1280, "height": 900})
        page.set_default_timeout(15_000)
        yield page
        browser.close()


def test_log_in_look_grant_and_find(page: Page) -> None:
    errors: list[Any] = []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto("/admin/login/")
    page.fill("[name=username]", "ada@example.com")
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")
    expect(page.locator(".dash-card").first).to_contain_text("Requests")
    page.click("text=24 hours")
    expect(page.locator(".dash-chosen")).to_have_text("24 hours")
    expect(page.locator("svg.plot-marks").first).to_be_visible()

    page.goto("/admin/accounts/user/")
    page.click("text=alice@example.com")
    page.get_by_role("link", name="Credits", exact=False).last.click()
    page.get_by_role("link", name="Grant or adjust").click()
    page.fill("[name=amount]", "2.5")
    page.fill("[name=reason]", "A good morning")
    page.click("text=Move credits")
    expect(page.locator("body")).to_contain_text("2.5 credits granted: the balance is 12.5.")
    expect(page.locator("body")).to_contain_text("A good morning")

    page.goto("/admin/")
    page.fill(".dash-find [name=id]", "morning-1")
    page.click(".dash-find button")
    expect(page.locator("h1.dash-title")).to_have_text("Request morning-1")
    expect(page.locator(".dash-section").first).to_contain_text("alice@example.com")
    assert errors == []
