"""The pages say what the code has: routes, errors, packages; and their links lead somewhere."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.urls import get_resolver

from aichat.core.errors import ApiError
from tests.core.web.test_openapi import served
from tools import docs_site

ROOT = Path(settings.BASE_DIR)
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]


def test_every_route_is_on_the_api_page() -> None:
    page = (DOCS / "API.md").read_text()
    missing = {
        path for path, _ in served(get_resolver().url_patterns) if not re.search(rf"{re.escape(path)}[`\s?]", page)
    }
    assert missing == set()


def codes(error: type[ApiError]) -> set[str]:
    return {error.code}.union(*(codes(subclass) for subclass in error.__subclasses__()))


def test_every_error_is_on_the_api_page() -> None:
    table = (DOCS / "API.md").read_text().partition("## Errors")[2]
    assert {code for code in codes(ApiError) if f"`{code}`" not in table} == set()


def test_every_package_has_its_reason_on_the_architecture_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    page = (DOCS / "ARCHITECTURE.md").read_text().partition("## Packages")[2]
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[\[~=<> ;]", line)[0] for line in wanted}
    pytest_plugins = {name for name in names if name.startswith("pytest-")}  # "pytest (-django, …)"
    missing = {name for name in names - pytest_plugins if name not in page}
    missing |= {name for name in pytest_plugins if name.removeprefix("pytest") not in page}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        file = (page.parent / target) if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, (
                anchor
            )


TASKS = [
    DOCS / "MODELS.md",
    DOCS / "PEOPLE.md",
    *sorted((DOCS / "deployment").glob("*.md")),
    *sorted((DOCS / "monitoring").glob("*.md")),
]


@pytest.mark.parametrize("page", TASKS, ids=lambda page: page.stem)
def test_a_page_of_a_task_says_how_one_sees_that_it_worked_and_what_to_do_otherwise(page: Path) -> None:
    headings = re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)
    assert [heading for heading in headings if heading.startswith("See that it ")]
    assert page.stem == "settings" or [
        heading for heading in headings if re.fullmatch(r"When it (does|is) not", heading)
    ]


def test_the_page_for_one_host_leads_to_every_task() -> None:
    links = set(re.findall(r"\]\(deployment/([\w-]+)\.md\)", (DOCS / "DEPLOYMENT.md").read_text()))
    assert links == {page.stem for page in (DOCS / "deployment").glob("*.md")}


def named(entries: list[Any]) -> set[str]:
    """The pages of a navigation, those of its sections included."""
    found: set[str] = set()
    for entry in entries:
        for target in entry.values() if isinstance(entry, dict) else [entry]:
            found |= named(target) if isinstance(target, list) else {target}
    return found


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    navigation = named(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    assert {docs_site.place(page).relative_to(docs_site.TARGET).as_posix() for page in PAGES} == navigation


def test_a_page_of_the_site_leads_to_what_it_led_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs_site, "TARGET", tmp_path)
    for page in PAGES:
        docs_site.lay_out(page)
    assert "](../CONTRIBUTING.md#changing-the-tables)" in (tmp_path / "deployment" / "upgrades.md").read_text()
    assert "](DEPLOYMENT.md)" in (tmp_path / "index.md").read_text()
    assert (tmp_path / "files" / "env.example").read_text() == (ROOT / ".env.example").read_text()
