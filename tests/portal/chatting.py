"""What people do on the page Chat, step by step, for the flows through the whole portal."""

import json

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FilePayload, Page, Route, expect


def walk_between_branches(page: Page) -> None:
    """Another answer, another question, and the way back, which a reload keeps, as it does a rating."""
    place, question = page.locator(".assistant .place"), page.locator(".user .place")
    page.click("[data-do=again]")
    expect(place).to_have_text("2 / 2")
    page.locator("#scroll").focus()
    page.keyboard.press("[")
    expect(place).to_have_text("1 / 2")
    page.click(".assistant [aria-label='A good answer']")
    expect(page.locator(".assistant [aria-pressed=true]")).to_have_count(1)
    page.reload()
    expect(place).to_have_text("1 / 2")
    expect(page.locator(".assistant [aria-pressed=true]")).to_have_attribute("aria-label", "A good answer")
    page.locator("#scroll").focus()
    page.keyboard.press("e")
    page.fill(".rewrite textarea", "Otherwise?\n```python\nprint('coloured')\n```")
    page.keyboard.press("Enter")
    expect(question).to_have_text("2 / 2")
    expect(page.locator(".assistant .code .hl-string")).to_have_text("'coloured'")
    expect(page.locator("#balance")).to_have_text("47 credits")
    page.click(".user [data-do=earlier]")
    expect(place).to_have_text("1 / 2")
    find_in_a_branch(page)
    page.click(".user [data-do=earlier]")
    expect(place).to_have_text("1 / 2")


def find_in_a_branch(page: Page) -> None:
    """The search finds a word of a message, and leads to the branch in which it stands."""
    is_narrow = page.locator("#open-side").is_visible()
    if is_narrow:
        page.click("#open-side")
    page.fill("#search", "colour")
    expect(page.locator("#conversations mark").first).to_have_text("coloured")
    nothing_serious(page)
    page.locator("#conversations a").first.click()
    expect(page.locator("article.found")).to_contain_text("coloured")
    expect(page.locator(".user .place")).to_have_text("2 / 2")
    if is_narrow:
        page.click("#open-side")
    page.fill("#search", "")
    expect(page.locator("#conversations mark")).to_have_count(0)
    if is_narrow:
        page.click("#close-side")


def share(page: Page) -> None:
    """A person is let in and out again; a link shows the branch to somebody who is not logged in, until it is ended."""
    page.click("#more")
    page.click("#menu [value=share]")
    page.fill("#share-email", "nobody@example.com")
    page.keyboard.press("Enter")
    expect(page.locator("#share-problem")).to_contain_text("another person with an account")
    page.fill("#share-email", "bob@example.com")
    page.select_option("#share-access", "write")
    page.click("#share-form [type=submit]")
    expect(page.locator("#people")).to_contain_text("bob@example.comreads and writes")
    nothing_serious(page)
    page.click("#people button")
    expect(page.locator("#people li")).to_have_count(0)
    page.click("#make-link")
    expect(page.locator("#links a")).to_have_count(1)
    address = page.locator("#links a").get_attribute("href") or ""
    browser = page.context.browser
    assert browser
    stranger = browser.new_page()
    answer = stranger.goto(address)
    assert answer
    assert answer.headers["x-robots-tag"] == "noindex, nofollow"
    expect(stranger.locator(".assistant strong")).to_have_text("bold")
    assert stranger.locator("article").count() == 2
    assert "alice" not in stranger.content()
    page.click("#links button")
    expect(page.locator("#links li")).to_have_count(0)
    page.keyboard.press("Escape")
    stranger.reload()
    expect(stranger.locator("#problem")).to_contain_text("has ended")
    stranger.close()


def nothing_serious(page: Page) -> None:
    """Axe finds nothing that keeps people from using the page."""
    violations = Axe().run(page).response["violations"]
    found = [one for one in violations if one["impact"] in {"serious", "critical"}]
    assert not found, str([(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found])


def refuse(page: Page, status: int, code: str) -> None:
    """Have the next question refused."""
    body = json.dumps({"error": {"code": code, "message": "Not now.", "request_id": "r1"}})
    page.unroute("**/api/v1/chat")
    page.route("**/api/v1/chat", lambda route: route.fulfill(status=status, body=body))
    page.fill("#question", "Again")
    page.keyboard.press("Enter")
    expect(page.locator("article.problem")).to_contain_text("Not now.")


def show_a_picture(page: Page, picture: bytes) -> None:
    """A text file is refused in words; a message waits for its picture, and stays when that fails; a picture is shown."""
    page.set_input_files("#file", FilePayload(name="a.txt", mimeType="text/plain", buffer=b"x"))
    expect(page.locator("#problem")).to_contain_text("a.txt can't be sent")
    cat = FilePayload(name="cat.png", mimeType="image/png", buffer=picture)
    held: list[Route] = []
    page.route("**/api/v1/attachments?*", lambda route: held.append(route))
    page.set_input_files("#file", cat)
    page.fill("#question", "What is it?")
    page.keyboard.press("Enter")
    expect(page.locator("#question")).to_have_value("")
    page.fill("#question", "And now?")
    page.keyboard.press("Enter")
    held[0].fulfill(status=413, body=json.dumps({"error": {"code": "file_limit_exceeded", "message": "No room."}}))
    expect(page.locator("#problem")).to_contain_text("No room.")
    expect(page.locator("#question")).to_have_value("What is it?\nAnd now?")
    page.unroute("**/api/v1/attachments?*")
    page.set_input_files("#file", cat)
    expect(page.locator("#files .chip:not(.sending)")).to_contain_text("cat.png")
    page.fill("#question", "What is it?")
    page.keyboard.press("Enter")
    expect(page.locator(".user img")).to_have_js_property("complete", True)
    assert page.locator(".user img").last.evaluate("image => image.naturalWidth") > 0
    expect(page.locator(".assistant .note")).to_have_count(2)
    expect(page.locator("#files")).to_be_hidden()
