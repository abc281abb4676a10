"""The product below a path of a host that it shares with neighbours (URL_PREFIX), whichever way the proxy asks for it."""

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import FilePayload, Page, expect, sync_playwright

from aichat.core.config import checks, prefix
from tests.accounts.test_oidc import Issuer, _remember_providers, issuer
from tests.admin_dashboard.chromium import CHROMIUM, NO_CHROMIUM, QUIET
from tests.conftest import PASSWORD, Actor, ExplainingClient
from tests.routes import all_routes

__all__ = ["_remember_providers", "issuer"]
PREFIX = "/ai"


@pytest.fixture
def below(settings: Any) -> None:
    settings.URL_PREFIX = PREFIX
    for name, value in prefix.settings_of(PREFIX).items():
        setattr(settings, name, value)


@pytest.fixture(params=["passed on", "taken away"])
def site(below: None, server: str, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A client as a proxy is that passes the prefix on, or takes it away."""
    base = server + PREFIX if request.param == "passed on" else server
    with ExplainingClient(base_url=base, timeout=30) as client:
        yield client


def strangers(answer: httpx.Response, server: str) -> list[str]:
    """Addresses of an answer that lead to a neighbour: of its headers, and quoted ones of its body."""
    found = re.findall(rf"[\"'](?:{server})?(/[A-Za-z][^\"'\s]*)[\"']", answer.text)
    found += [answer.headers["location"].removeprefix(server)] if "location" in answer.headers else []
    found += re.findall(r"[Pp]ath=([^;,\s]+)", answer.headers.get("set-cookie", ""))
    return [one for one in found if one != PREFIX and not one.startswith(f"{PREFIX}/")]


def test_no_page_and_no_answer_leads_to_a_neighbour(below: None, server: str, ada: Actor, settings: Any) -> None:
    schema, logout = "api/schema/", "admin/logout/"  # paths below the document's server; it would end the session
    paths = {route.path.strip("^$") for route in all_routes() if "GET" in route.verbs and not route.is_object}
    with httpx.Client(base_url=server + PREFIX, timeout=30, headers={"X-Portal": "1"}) as browser:
        browser.cookies.set(settings.LOGIN_COOKIE_NAME, ada.token)
        entered = browser.get("/admin/login/", params={"next": f"{PREFIX}/admin/"})
        assert entered.headers["location"] == f"{PREFIX}/admin/"
        answers = [entered, *(browser.get(f"/{path}") for path in sorted(paths - {schema, logout}))]
    found = {str(answer.url): strangers(answer, server) for answer in answers}
    assert {address: leads for address, leads in found.items() if leads} == {}
    shown = [answer for answer in answers if answer.status_code == 200 and f'"{PREFIX}/' in answer.text]
    assert len(shown) > 40


def test_what_is_answered_has_the_prefix_whatever_the_proxy_does_with_it(
    site: httpx.Client, server: str, alice: Actor
) -> None:
    public = server + PREFIX
    drawn = site.post(
        "/v1/images/generations", json={"prompt": "a cat", "response_format": "url"}, headers=alice.headers
    )
    picture = drawn.json()["data"][0]["url"]
    assert picture.startswith(f"{public}/api/v1/images/files/")
    assert httpx.get(picture).headers["content-type"].startswith("image/")
    job = site.post("/api/v1/images", json={"prompt": "a dog"}, headers=alice.headers)
    assert httpx.get(server + job.headers["location"], headers=alice.headers).json()["id"] == job.json()["id"]
    site.post("/api/v1/images", json={"prompt": "a fox"}, headers=alice.headers)
    page = site.get("/api/v1/images", params={"page_size": 1}, headers=alice.headers).json()
    assert page["next"].startswith(f"{public}/api/v1/images?")
    assert f"The base URL is {public}/v1 for" in site.post("/v1/nothing").json()["error"]["message"]
    assert site.get("/static/portal/portal.css").status_code == 200
    assert site.get("/healthz").status_code == 200
    asked = {"model": "demo", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
    said = site.post("/messages", json=asked, headers=alice.headers)
    assert said.json()["type"] == "message"
    wrong = site.post("/v1/messages", json={}, headers=alice.headers)
    assert (wrong.json()["type"], "request-id" in wrong.headers) == ("error", True)


def test_cookies_are_kept_from_neighbours(site: httpx.Client, alice: Actor, settings: Any) -> None:
    entered = site.post("/portal/login", json={"email": "alice@example.com", "password": PASSWORD})
    kept = entered.headers["set-cookie"]
    assert kept.startswith("aichat_login_ai=") and "Path=/ai;" in kept
    neighbour = f"aichat_login=stranger; sessionid=stranger; {kept.partition(';')[0]}; aichat_login=stranger"
    me = site.get("/api/v1/me", headers={"X-Portal": "1", "Cookie": neighbour})
    assert me.json()["email"] == "alice@example.com"
    left = site.post("/portal/logout", headers={"X-Portal": "1", "Cookie": neighbour})
    assert left.headers["set-cookie"].startswith('aichat_login_ai="";') and "Path=/ai;" in left.headers["set-cookie"]
    assert 'name="csrfmiddlewaretoken"' in site.get("/admin/login/").text
    assert {cookie.path for cookie in site.cookies.jar} == {"/ai"}


@pytest.mark.parametrize(
    ("wanted", "goes"), [("/ai/keys", "/ai/keys"), ("/aim/", "/ai/"), ("/wiki", "/ai/"), ("", "/ai/")]
)
def test_a_login_leads_to_our_own_pages_alone(site: httpx.Client, wanted: str, goes: str) -> None:
    assert f'data-next="{goes}"' in site.get("/login", params={"next": wanted}).text


def test_the_issuer_sends_people_back_below_the_prefix(site: httpx.Client, settings: Any, issuer: Issuer) -> None:
    settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET, settings.OIDC_AUDIENCE = "browser-client", "secret", ""
    begun = site.get("/accounts/oidc/login")
    asked = parse_qs(urlsplit(begun.headers["location"]).query)
    assert urlsplit(asked["redirect_uri"][0]).path == "/ai/accounts/oidc/login/callback"
    assert "Path=/ai/accounts/;" in begun.headers["set-cookie"]


@pytest.mark.parametrize("taken", ["/admin", "/v1/ai", "/images", "/static", "/c"])
def test_a_prefix_that_begins_as_our_paths_do_is_refused(settings: Any, taken: str) -> None:
    settings.URL_PREFIX = taken
    (problem,) = checks.the_prefix_is_told_from_our_paths()
    assert problem.id == "aichat.E015" and taken in problem.msg


def test_mails_that_would_lead_to_a_neighbour_are_warned_of(settings: Any) -> None:
    settings.URL_PREFIX, settings.APP_URL = PREFIX, "https://tools.example.com"
    assert "APP_URL=https://tools.example.com/ai" in str(checks.the_prefix_is_told_from_our_paths()[0].hint)
    settings.APP_URL = "https://tools.example.com/ai"
    assert checks.the_prefix_is_told_from_our_paths() == []


@pytest.fixture
def page(below: None, server: str, alice: Actor) -> Iterator[Page]:
    """A browser of Alice's; a request of a page for what a neighbour has fails the test."""
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip(NO_CHROMIUM)
    alice.set_credits(50)
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_context(base_url=server).new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.context.on("response", lambda answer: complaints.append(answer.url) if answer.status == 404 else None)
        page.context.on(
            "request",
            lambda request: (
                complaints.append(request.url)
                if request.url.startswith("http") and not request.url.startswith(f"{server}{PREFIX}/")
                else None
            ),
        )
        yield page
        browser.close()
    assert complaints == []


def test_people_log_in_chat_draw_share_and_leave_below_the_prefix(page: Page) -> None:
    page.goto("/ai/")
    page.wait_for_url("**/ai/login")
    page.fill("[name=email]", "alice@example.com")
    page.fill("[name=password]", PASSWORD)
    page.click("#enter [type=submit]")
    expect(page.locator("#balance")).to_have_text("50 credits")
    page.set_input_files("#file", FilePayload(name="bill.pdf", mimeType="application/pdf", buffer=b"%PDF-1.4 bill"))
    page.fill("#question", "Hello")
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .note")).to_contain_text("1 credit")
    page.wait_for_url("**/ai/c/*")
    page.reload()
    expect(page.locator(".user .chip")).to_have_attribute("href", re.compile("^/ai/api/v1/attachments/"))
    expect(page.locator(".assistant .body")).to_contain_text("demo model")
    page.click("#more")
    page.click("#menu [value=share]")
    page.click("#make-link")
    shared = page.locator("#links a")
    expect(shared).to_have_count(1)
    page.goto(shared.get_attribute("href") or "")
    expect(page.locator(".assistant .body")).to_contain_text("demo model")
    page.goto("/ai/images")
    page.fill("#prompt", "a red cat")
    page.click("#draw [type=submit]")
    expect(page.locator("figcaption p")).to_have_text("a red cat")
    page.goto("/ai/keys")
    expect(page.locator("#snippet")).to_contain_text("/ai/v1/chat/completions")
    page.goto("/ai/account")
    expect(page.locator("#who")).to_contain_text("alice@example.com")
    page.select_option("#language", "de")
    page.click("#profile [type=submit]")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.locator("#sessions tr")).not_to_have_count(0)
    page.wait_for_load_state("networkidle")
    page.click("#logout")
    page.wait_for_url("**/ai/login")
    page.goto("/ai/keys")
    page.wait_for_url("**/ai/login?next=%2Fai%2Fkeys")
