"""A life in the portal, in one browser: invited, second factor, chats, a picture, credits, keys, a team, and away.

Every page is looked at on the way, wide and light, narrow and dark: no sideways scroll, nothing that axe-core calls serious.
"""

import os
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core import mail as django_mail
from playwright.sync_api import Page, Route, expect, sync_playwright

from accounts import invitations, teams
from accounts.models import Role
from aichat.core.money import CREDIT
from aichat.core.outbound import mail
from aichat.images import storage
from aichat.payments import vouchers
from tests.admin_dashboard.chromium import CHROMIUM, NO_CHROMIUM, QUIET
from tests.conftest import PASSWORD, Actor
from tests.images.test_storage import drawn, ended
from tests.portal.test_browser import protect

EMAIL = "dora@example.com"


@pytest.fixture
def invited(server: str, alice: Actor) -> tuple[str, str, str]:
    """The code of Dora's invitation into Alice's team, a voucher's, and the address of a JPEG picture.

    All are made before the browser has its event loop.
    """
    team = teams.create_team(alice.user, "Workshop")
    invitations.invite(team, email=EMAIL, role="MEMBER")
    mail.wait_until_sent()
    found = re.search(r"Your code: (\S+)", str(django_mail.outbox[-1].body))
    assert found
    alice.user.role = Role.ADMIN
    photo = f"/api/v1/images/files/{storage.sign(drawn(ended(alice, 'succeeded'), 'JPEG').pk)}"
    return found[1], vouchers.make_vouchers(250 * CREDIT, count=1, actor=alice.user)[0], photo


@pytest.mark.long
def test_a_life_from_the_invitation_to_the_end_of_the_account(server: str, invited: tuple[str, str, str]) -> None:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip(NO_CHROMIUM)
    token, voucher, photo = invited
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_context(base_url=server.replace("127.0.0.1", "localhost"), locale="en-US").new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        sign_up(page, token)
        page.goto("/account")
        protect(page)
        chat_and_draw(page, photo)
        use_credits(page, voucher)
        use_keys(page)
        work_in_team(page)
        leave(page)
        browser.close()
    assert complaints == []


def looks_right(page: Page) -> None:
    """Nothing serious for axe-core and no sideways scroll: wide and light, narrow and dark."""
    for width, scheme in ((1400, "light"), (390, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        where = f"{page.url}, {width}, {scheme}"
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, where
        found = Axe().run(page).response["violations"]
        serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}]
        assert serious == [], where


def sign_up(page: Page, token: str) -> None:
    page.goto(f"/accept-invitation?token={token}")
    looks_right(page)
    page.click("#accept [type=submit]")
    page.click("#signup")
    page.fill("[name=name]", "Dora")
    page.fill("[name=email]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    looks_right(page)
    page.click("#enter [type=submit]")
    expect(page.locator("#balance")).to_contain_text("credits")


def chat_and_draw(page: Page, photo: str) -> None:
    page.goto("/")
    page.fill("#question", "Good morning")
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .body").first).to_contain_text("demo")
    expect(page.locator(".assistant .note").first).to_contain_text("credit")
    page.fill("#question", "word " * 400)
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .body").nth(1)).to_contain_text("word")
    page.click("#stop")
    expect(page.locator("#stop")).to_be_hidden()
    looks_right(page)
    page.goto("/images")
    page.fill("#prompt", "a red cat")
    page.click("#draw [type=submit]")
    expect(page.locator("figcaption")).to_contain_text("a red cat")
    looks_right(page)
    save_a_picture(page, photo)


def save_a_picture(page: Page, address: str) -> None:
    """A picture is saved under a name with the ending of its type, whichever type its model makes."""
    shown = {"url": address, "thumbnail_url": address, "width": 8, "height": 8}

    def draw(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "status": "succeeded", "images": [shown]})

    page.route(re.compile("/api/v1/images/[0-9a-f-]{36}$"), draw)
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the picture").click()
    assert re.fullmatch(r"picture-1\.jpe?g", saved.value.suggested_filename)
    page.unroute_all()


def use_credits(page: Page, voucher: str) -> None:
    page.goto("/credits")
    page.fill("#code", voucher)
    page.click("#redeem [type=submit]")
    expect(page.locator("#redeemed")).to_have_text("You received 250 credits.")
    expect(page.locator("#lots tr")).to_have_count(2)
    expect(page.locator("#entries tr").first).to_contain_text("Voucher")
    expect(page.locator("#chart svg")).to_be_visible()
    page.click("text=By model")
    expect(page.locator("#groups")).to_contain_text("demo")
    page.click("#statement [value=view]")
    expect(page.locator("#statement-shown")).to_contain_text("Balance at the end")
    page.fill("#low", "20")
    page.fill("#mails", EMAIL)
    page.click("#alert-form [type=submit]")
    expect(page.locator("#alerts-saved")).to_have_text("Saved.")
    looks_right(page)


def use_keys(page: Page) -> None:
    """Make a key with limits, rotate it with an overlap, and revoke what is left of the old one."""
    page.goto("/keys")
    page.click("#new")
    page.fill("#name", "laptop")
    page.fill("#day", "20")
    page.fill("#addresses", "10.0.0.0/99")
    looks_right(page)
    page.click("#make [type=submit]")
    expect(page.locator("#edit-problem")).to_contain_text("address")
    page.fill("#addresses", "10.0.0.0/8")
    page.keyboard.press("Enter")
    page.click("#make [type=submit]")
    expect(page.locator("#keys tr")).to_contain_text("10.0.0.0/8")
    first = page.text_content("#key") or ""
    assert first.startswith("sk-")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")  # as on a http address
    page.click("#copy")
    expect(page.locator("#copy")).to_have_text("Copied")
    page.click("#snippet button")
    expect(page.locator("#snippet button")).to_have_text("Copied")
    page.click("#keys button:text('Rotate')")
    page.click("#rotate [type=submit]")
    expect(page.locator("#keys tr")).to_have_count(2)
    expect(page.locator("#key")).not_to_have_text(first)
    page.click("#keys tr:has-text('rotated') button:text('Revoke')")
    page.click("#confirm [type=submit]")
    expect(page.locator("#keys tr")).to_have_count(1)
    page.click("#tools button:text('Codex CLI')")
    expect(page.locator("#snippet")).to_contain_text(page.text_content("#key") or "no key")
    looks_right(page)


def work_in_team(page: Page) -> None:
    """As a member: see the others but not what they spend, spend the team's credits alone, and leave."""
    page.goto("/team")
    page.select_option("#acting", label="Workshop")
    expect(page.locator("#heading")).to_have_text("Workshop")
    expect(page.locator("#members tr")).to_have_count(2)
    expect(page.locator("#members tr:has-text('alice')")).to_contain_text("–")
    expect(page.locator("#inviting")).to_be_hidden()
    expect(page.locator("#balance")).to_have_text("0 credits")
    looks_right(page)
    page.evaluate("localStorage.setItem('organization', '00000000-0000-7000-8000-000000000000')")
    page.reload()
    expect(page.locator("#heading")).to_have_text("Team")  # of a team that is gone, the page acts for its person again
    page.select_option("#acting", label="Workshop")
    expect(page.locator("#heading")).to_have_text("Workshop")
    page.click("#teams button:text('Leave')")
    page.click("#confirm [type=submit]")
    expect(page.locator("#acting")).to_be_hidden()
    expect(page.locator("#heading")).to_have_text("Team")


def leave(page: Page) -> None:
    """Read German from now on, take all data, and delete the account."""
    page.goto("/account")
    expect(page.locator("#who")).to_contain_text(EMAIL)
    page.select_option("#language", "de")
    page.click("#profile [type=submit]")
    expect(page.locator("h1")).to_have_text("Einstellungen")
    expect(page.locator("#mfa-state")).to_contain_text("Übrige Wiederherstellungscodes: ")
    looks_right(page)
    with page.expect_download() as download:
        page.click("#export")
    assert '"type":"end"' in download.value.path().read_text().splitlines()[-1].replace(" ", "")
    page.fill("#leave-password", "not the password")
    page.click("#leave [type=submit]")
    page.click("#confirm [type=submit]")
    expect(page.locator("#sure .problem")).to_contain_text("Das ist nicht Ihr Passwort.")
    page.keyboard.press("Escape")
    page.fill("#leave-password", PASSWORD)
    page.click("#leave [type=submit]")
    page.click("#confirm [type=submit]")
    page.wait_for_url("**/login*")
    expect(page.locator("#said")).to_contain_text("wird am")
    looks_right(page)
