"""The portal in a real browser: log in, chat, stop, draw, make a key, log out; on a wide and on a narrow screen."""

import base64
import os
import re
from collections.abc import Iterator

import pytest
from django.core import mail as django_mail
from playwright.sync_api import Page, expect, sync_playwright

from accounts import second_factor
from aichat.catalog import snapshot
from aichat.catalog.models import AIModel
from aichat.core.outbound import mail
from tests.admin_dashboard.chromium import CHROMIUM, NO_CHROMIUM, QUIET
from tests.conftest import PASSWORD, Actor
from tests.images.conftest import PNG
from tests.portal.chatting import nothing_serious, refuse, share, show_a_picture, walk_between_branches

NEW = "a completely different passphrase"
HOSTILE = (
    "<img src=x onerror=alert(1)> [press](javascript:alert(2)) <script>alert(3)</script> **bold** <svg onload=alert(4)> "
    "[page](data:text/html,<script>alert(5)</script>) <iframe src=javascript:alert(6)></iframe> ![x](javascript:alert(7)) "
    "![y](https://pictures.example/y.png)"
)


@pytest.fixture
def prepared(server: str, alice: Actor, bob: Actor) -> str:
    """Before the browser starts: it has an event loop of its own, beside which Django asks no database."""
    alice.set_credits(50)
    AIModel.objects.filter(slug="demo").update(vision=True)  # it reads no picture, and has no other use for this
    snapshot.forget()
    return server.replace("127.0.0.1", "localhost")  # passkeys belong to names


@pytest.fixture(params=[1400, 390])
def page(prepared: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Logged in as Alice. A dialog, or an error of a page's script, fails the test."""
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip(NO_CHROMIUM)
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_context(base_url=prepared, viewport={"width": request.param, "height": 900}).new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on("request", lambda request: complaints.extend([request.url] * (".example/" in request.url)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto("/")
        page.wait_for_url("**/login*")
        log_in(page)
        expect(page.locator("#balance")).to_have_text("50 credits")
        yield page
        browser.close()
    assert complaints == []


def log_in(page: Page, email: str = "alice@example.com") -> None:
    page.fill("[name=email]", email)
    page.fill("[name=password]", PASSWORD)
    page.click("#enter [type=submit]")
    page.wait_for_selector("#balance")


def test_chat_draw_make_a_key_and_leave(page: Page) -> None:
    ends = page.locator("header nav a").evaluate_all("links => links.map((link) => link.getBoundingClientRect().right)")
    assert len(ends) == 6 and max(ends) <= page.evaluate("innerWidth")  # every page is reached at a glance
    page.fill("#question", HOSTILE)
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .note")).to_contain_text("1 credit")
    expect(page.locator(".assistant strong")).to_have_text("bold")
    made = page.locator(".assistant .body").locator("img, script, a[href], svg, iframe")
    assert [one.get_attribute("href") for one in made.all()] == ["https://pictures.example/y.png"]
    expect(page.locator("#balance")).to_have_text("49 credits")
    page.reload()
    expect(page.locator(".assistant .body")).to_contain_text("demo model")
    walk_between_branches(page)
    share(page)
    show_a_picture(page, PNG)
    nothing_serious(page)

    page.goto("/images")
    page.fill("#prompt", "a red cat")
    expect(page.locator("#price")).to_contain_text("5 credits")
    page.click("#draw [type=submit]")
    expect(page.locator("figcaption p")).to_have_text("a red cat")
    nothing_serious(page)

    page.goto("/credits")
    expect(page.locator("#entries tr")).not_to_have_count(0)
    page.goto("/keys")
    page.click("#new")
    page.fill("#name", "laptop")
    page.fill("#day", "20")
    page.click("#make [type=submit]")
    expect(page.locator("#key")).to_contain_text("sk-")
    expect(page.locator("#snippet")).to_contain_text(page.text_content("#key") or "no key")
    expect(page.locator("#keys tr")).to_contain_text(["laptop", "test"])
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("window.innerWidth")

    page.goto("/account")
    expect(page.locator("#who")).to_contain_text("alice@example.com")
    expect(page.locator("#sessions tr")).to_have_count(2)
    page.click("#sessions button")
    expect(page.locator("#sessions tr")).to_have_count(1)
    expect(page.locator("#sessions")).to_contain_text("this one")
    secret, recovery_codes = protect(page)
    page.click("#logout")
    page.wait_for_url("**/login*")
    page.goto("/")
    page.wait_for_url("**/login*")
    reset_password(page)
    log_in_with_code(page, secret)
    use_a_passkey(page, recovery_codes)


def protect(page: Page) -> tuple[bytes, list[str]]:
    """Set up a second factor on the page Account; answer the app's secret and the recovery codes."""
    page.fill("#mfa-password", PASSWORD)
    page.click("#mfa-begin [type=submit]")
    expect(page.locator("#mfa-secret")).to_have_text(re.compile(r"(\w{4} ){7}\w{4}"))
    secret = base64.b32decode((page.text_content("#mfa-secret") or "").replace(" ", ""))
    assert page.evaluate("document.getElementById('mfa-qr').naturalWidth") > 100, "the QR code is shown"
    page.fill("#mfa-code", second_factor.app_code(secret, second_factor.current_step()))
    page.click("#mfa-confirm [type=submit]")
    expect(page.locator("#mfa-list")).to_contain_text("-")
    expect(page.locator("#mfa-state")).to_contain_text("Recovery codes that are left: 10")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("window.innerWidth")
    return secret, (page.text_content("#mfa-list") or "").split()


def reset_password(page: Page) -> None:
    """Set a new password by the code of a mail."""
    page.click("text=Forgot your password?")
    page.fill("#email", "alice@example.com")
    page.click("#ask [type=submit]")
    expect(page.locator("#asked")).to_be_visible()
    mail.wait_until_sent()
    found = re.search(r"Your code: (\S+)", str(django_mail.outbox[-1].body))
    assert found
    page.goto(f"/reset-password?token={found[1]}")
    page.fill("#new", NEW)
    page.click("#set [type=submit]")
    expect(page.locator("#done")).to_be_visible()
    page.click("text=Log in")


def log_in_with_code(page: Page, secret: bytes) -> None:
    """Log in with a password, which asks for a code, and then with the code of the next half minute."""
    page.fill("[name=email]", "alice@example.com")
    page.fill("[name=password]", NEW)
    expect(page.locator("[name=code]")).to_be_hidden()
    page.click("[type=submit]")
    expect(page.locator("[name=code]")).to_be_focused()
    page.fill("[name=code]", second_factor.app_code(secret, second_factor.current_step() + 1))
    page.click("[type=submit]")
    expect(page.locator("#balance")).to_contain_text("credits")


def use_a_passkey(page: Page, recovery_codes: list[str]) -> None:
    """Add a passkey, and log in with it: alone, beside the password, and on the admin site's page."""
    device = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
              "isUserVerified": True, "automaticPresenceSimulation": True}  # fmt: skip
    tools = page.context.new_cdp_session(page)
    tools.send("WebAuthn.enable")
    tools.send("WebAuthn.addVirtualAuthenticator", {"options": device})
    page.goto("/account")
    page.fill("#passkey-name", "my laptop")
    page.fill("#passkey-password", NEW)
    page.fill("#passkey-proof", recovery_codes[0])
    page.click("#passkey-add [type=submit]")
    expect(page.locator("#passkey-list")).to_contain_text("my laptop")
    page.click("#passkey-list button:text('Rename')")
    page.fill("#new-name", "old laptop")
    page.click("#name-form [type=submit]")
    expect(page.locator("#passkey-list")).to_contain_text("old laptop")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("window.innerWidth")
    for enter in (with_passkey_alone, with_password_and_passkey):
        page.click("#logout")
        page.wait_for_url("**/login*")
        page.goto("/accounts/login/?next=/account")
        enter(page)
        page.wait_for_url("**/account")
        expect(page.locator("#who")).to_contain_text("alice@example.com")
    page.click("#logout")
    page.wait_for_url("**/login*")
    page.goto("/admin/login/?next=/account")
    page.click("#passkey")
    page.wait_for_url("**/account")
    page.click("#passkey-list button:text('Remove')")
    expect(page.locator("#passkey-list tr")).to_have_count(0)
    page.fill("#mfa-proof", recovery_codes[1])
    page.click("#mfa-on [value=leave]")
    page.click("#confirm [type=submit]")
    expect(page.locator("#mfa-state")).to_contain_text("Off: whoever has your password can log in.")


def with_passkey_alone(page: Page) -> None:
    page.click("#passkey")


def with_password_and_passkey(page: Page) -> None:
    page.fill("[name=email]", "alice@example.com")
    page.fill("[name=password]", NEW)
    page.click("#enter [type=submit]")
    page.click("#second-passkey")


def test_an_answer_that_is_stopped_left_or_refused_is_told_in_words(page: Page) -> None:
    slow = {"offline": False, "latency": 200, "downloadThroughput": 50_000, "uploadThroughput": 20_000}
    network = page.context.new_cdp_session(page)
    network.send("Network.emulateNetworkConditions", slow)
    page.fill("#question", "word " * 400)
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .body")).to_contain_text("demo")
    page.click("#stop")
    expect(page.locator(".assistant .broken")).to_contain_text("paid")
    expect(page.locator(".assistant .request")).not_to_be_empty()
    expect(page.locator("#send")).to_be_visible()
    network.send(
        "Network.emulateNetworkConditions", {**slow, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    )

    page.fill("#question", "second " * 100 + "end")
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .body").nth(1)).to_contain_text("second")
    page.reload()
    expect(page.locator(".assistant .body").nth(1)).to_contain_text("second end")  # it was finished meanwhile
    expect(page.locator(".assistant .broken")).to_have_count(1)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("article")).to_have_count(4)

    other.evaluate("localStorage.setItem('organization', '01a20a63-0000-7000-8000-000000000000')")
    for tab, text in ((page, "one"), (other, "two")):
        with tab.expect_request("**/api/v1/chat") as asked:
            tab.fill("#question", text)
            tab.keyboard.press("Enter")
        assert "x-organization" not in asked.value.headers, "each tab pays as it shows"
    other.evaluate("localStorage.removeItem('organization')")
    expect(other.locator(".assistant .note:not(.broken)")).to_have_count(3)
    page.reload()
    expect(page.locator(".user .place")).to_have_text(re.compile("[12] / 2"))
    other.close()

    refuse(page, 503, "provider_unavailable")
    expect(page.locator("article.problem")).to_contain_text("Ask demo")
    refuse(page, 402, "insufficient_credits")
    assert page.locator("article.problem a").get_attribute("href") == "/credits"
    page.unroute("**/api/v1/chat")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("article.problem")).to_have_count(0)
    expect(page.locator(".assistant .note:not(.broken)")).to_have_count(4)

    page.fill("#question", "not lost")
    page.context.clear_cookies()  # the next request, be it the question or the list in the background, finds no login
    page.keyboard.press("Enter")
    page.wait_for_url("**/login*")
    log_in(page)
    expect(page.locator("#question")).to_have_value("not lost")
    other = page.context.new_page()
    other.goto("/account")
    other.click("#logout")
    page.wait_for_url("**/login*")
    log_in(page, "bob@example.com")
    expect(page.locator("#question")).to_have_value("")
