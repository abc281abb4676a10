"""The pictures of `docs/images/`: a fresh installation with `seed_demo_data`, looked at by a headless Chromium.

`make screenshots` makes them anew; each is reduced to 256 colours, which these pages do not miss.
"""

import tempfile
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from tests.admin_dashboard.chromium import CHROMIUM, QUIET
from tests.service import ROOT, Service

FOLDER = ROOT / "docs" / "images"
DESKTOP, PHONE = (1360, 1000), (375, 1400)
# Name, address, size of the window, dark or not, the whole page or what the window shows of it.
PICTURES = [
    ("dashboard", "/admin/?range=7d", DESKTOP, False, True),
    ("dashboard-dark", "/admin/?range=7d", DESKTOP, True, False),
    ("dashboard-phone", "/admin/?range=24h", PHONE, False, False),
    ("reconciliation", "/admin/reconciliation/?range=7d", DESKTOP, False, False),
    ("gallery", "/admin/images/imagejob/", DESKTOP, False, False),
    ("spending", "/admin/spending/?range=30d", DESKTOP, False, False),
    ("experiment", "", DESKTOP, False, False),
]
PROMPTS = [
    "A lighthouse in fog",
    "A red bicycle",
    "Terraced fields at dawn",
    "A paper boat",
    "A robot that waters tulips",
]

CODE = """How do I count the words of a file? Mine is

```python
from pathlib import Path

print(len(Path("notes.txt").read_text().split()))
```"""
QUESTIONS = ["Which of our plans fits ten people who chat a little, and what would it cost a month?", CODE]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="aichat-screenshots-") as directory:
        # The keys lead nowhere: they let the catalog have the models that the demo's people used.
        keys = {"GEMINI_API_KEY": "none", "OPENAI_API_KEY": "none", "MEDIA_ROOT": f"{directory}/media"}
        service = Service(Path(directory), None, 1, keys)
        try:
            service.wait_until_ready()
            service.manage("seed_demo_data", "--force")
            for prompt in PROMPTS:
                body = {"prompt": prompt, "model": "demo-image"}
                httpx.post(f"{service.address}/api/v1/images", json=body, headers=service.headers, timeout=60)
            take(service)
        finally:
            service.close()


def take(service: Service) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(base_url=service.address)
        page.goto("/admin/login/")
        page.fill("[name=username]", "admin@example.com")
        page.fill("[name=password]", service.password)
        page.click("[type=submit]")
        page.goto("/admin/flags/experiment/")
        results = page.locator('a[href$="/results"], a[href$="/results/"]').first.get_attribute("href") or ""
        state = page.context.storage_state()
        for name, address, size, is_dark, is_whole in PICTURES:
            data = shot(browser, service.address, state, address or results, size, is_dark, is_whole)
            save(name, data)
        take_portal(browser, service)
        browser.close()


def take_portal(browser: Browser, service: Service) -> None:
    """The chat page after a question, as a person of the portal sees it, at a desk and on a phone."""
    page = browser.new_page(base_url=service.address, viewport={"width": 1360, "height": 900})
    page.goto("/login")
    page.fill("[name=email]", "admin@example.com")
    page.fill("[name=password]", service.password)
    page.click("#enter [type=submit]")
    page.wait_for_selector("#balance")
    page.select_option("#model", "demo")  # the only one that answers here
    for number, question in enumerate(QUESTIONS, 1):
        page.fill("#question", question)
        page.locator("#question").press("Enter")
        expect(page.locator(".assistant .note")).to_have_count(number)
    page.wait_for_load_state("networkidle")
    save("portal", page.screenshot())
    page.set_viewport_size({"width": PHONE[0], "height": 812})
    save("portal-phone", page.screenshot())
    page.close()


def save(name: str, data: bytes) -> None:
    """Store a picture in the folder, reduced to the colours that it needs."""
    picture = Image.open(BytesIO(data)).convert("RGB")
    reduced = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    path = FOLDER / f"{name}.png"
    reduced.save(path, optimize=True)
    print(f"{path.name} {path.stat().st_size // 1024} kB")  # noqa: T201


def shot(
    browser: Browser, host: str, state: object, address: str, size: tuple[int, int], is_dark: bool, is_whole: bool
) -> bytes:
    context = browser.new_context(
        base_url=host,
        storage_state=state,  # type: ignore[arg-type]
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if is_dark else "light",
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_load_state("networkidle")
    try:
        return page.screenshot(full_page=is_whole)
    finally:
        context.close()


if __name__ == "__main__":
    main()
