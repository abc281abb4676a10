"""Who may import whom: the floors of the house as data, held against every import of the product.

`docs/ARCHITECTURE.md` shows the same table. `python -m tests.test_architecture` writes it there.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "ARCHITECTURE.md"
BEGIN, END = "<!-- floors: written by `python -m tests.test_architecture` -->", "<!-- end of floors -->"
PACKAGES = ("aichat", "accounts", "credits", "admin_dashboard")

# May import anything of ours, and nobody imports them.
WIRING = (
    "aichat.settings",
    "aichat.framework_settings",
    "aichat.urls",
    "aichat.asgi",
    "aichat.celery",
    "aichat.apps",
    "aichat.backlog",
    "aichat.health",
    "aichat.management",
)
# From the top floor to the ground: a part may import itself and the floors below, never a part beside or above it.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("admin_dashboard",),
    ("aichat.portal",),
    ("aichat.chat", "aichat.images"),
    ("aichat.api",),
    ("aichat.generation",),
    ("aichat.usage", "aichat.promptcache", "aichat.payments"),
    ("aichat.catalog", "aichat.flags", "credits", "aichat.idempotency"),
    ("accounts", "aichat.providers"),
    ("aichat.core.admin",),
    ("aichat.core.web",),
    ("aichat.core.outbound",),
    ("aichat.core.snapshot",),
    ("aichat.core.redis",),
    ("aichat.core.background",),
    ("aichat.core.database",),
    ("aichat.core.telemetry",),
    # Queues and start-up hooks need no database: telemetry sends through them.
    ("aichat.core.background.batch_queue",),
    ("aichat.core.background.lifecycle",),
    ("aichat.core.config",),
    ("aichat.core.errors", "aichat.core.money"),
)
# It hears of events that others emit: only the dashboard shows them, and nothing else depends on it.
LISTENER = "aichat.analytics"
LISTENER_MAY_IMPORT = ("accounts", "aichat.core")
# A vendor's folder knows what all vendors share, and no other vendor.
SHARED_BY_VENDORS = (
    "answers",
    "base",
    "bodies",
    "errors",
    "event_stream",
    "finish_reasons",
    "http",
    "json",
    "outgoing",
    "registry",
    "response_items",
    "single_calls",
    "thoughts",
    "usage",
    "vendor",
    "wav",
)

PARTS = [part for floor in FLOORS for part in floor]


def part_of(module: str) -> str | None:
    """The part a module belongs to; None for a module the table does not know."""
    if module in {"aichat", "aichat.core"}:
        return "empty"  # their __init__.py have nothing in them
    names = [name for name in (*PARTS, *WIRING, LISTENER) if module == name or module.startswith(f"{name}.")]
    return max(names, key=len, default=None)


def floor_of(part: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if part in floor)


def vendor_of(module: str) -> str | None:
    """The vendor of a module in `aichat/providers/<vendor>/`."""
    parts = module.removeprefix("aichat.providers.").split(".")
    is_shared = not module.startswith("aichat.providers.") or parts[0] in SHARED_BY_VENDORS
    return None if is_shared else parts[0]


def may_import(module: str, name: str) -> bool:
    part, target = part_of(module), part_of(name)
    if part in WIRING or target in {part, "empty"}:
        vendor, other = vendor_of(module), vendor_of(name)
        return other is None or part in WIRING or other == vendor
    if part is None or target is None or target in WIRING:
        return False
    if target == LISTENER:
        return part == "admin_dashboard"
    if part == LISTENER:
        return target.startswith(LISTENER_MAY_IMPORT)
    return floor_of(target) > floor_of(part) and vendor_of(name) is None


def imports(source: str, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of everything of ours that is imported, at the top or inside a function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if is_package else module.split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names = [
                f"{origin}.{alias.name}" if is_module(f"{origin}.{alias.name}") else origin for alias in node.names
            ]
        elif isinstance(node, ast.Call) and "import" in ast.unparse(
            node.func
        ):  # import_module("…"), import_string("…")
            names = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        else:
            continue
        for name in names:
            if name.split(".")[0] in PACKAGES:
                yield node.lineno, name


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    if part_of(module) is None:
        return [f"{module} stands on no floor: add it to the table"]
    return [
        f"{module}:{line} imports {name}: {part_of(module)} may not import {part_of(name)}"
        for line, name in imports(source, module, is_package=is_package)
        if not may_import(module, name)
    ]


def modules() -> Iterator[tuple[Path, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            names = path.relative_to(ROOT).with_suffix("").parts
            yield path, ".".join(names[:-1] if names[-1] == "__init__" else names)


def table() -> str:
    """The floors as a table of Markdown."""
    exists = {part for part in PARTS if is_module(part)}
    rows = [
        " ".join(f"`{part.removeprefix('aichat.').replace('.', '/')}`" for part in floor if part in exists)
        for floor in FLOORS
    ]
    lines = [f"| {number} | {row} |" for number, row in enumerate(filter(None, rows), start=1)]
    return "\n".join(["| floor | parts |", "| --- | --- |", *lines])


def with_table(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def test_every_import_goes_downward() -> None:
    found = [
        violation
        for path, module in modules()
        for violation in violations(path.read_text(), module, is_package=path.name == "__init__.py")
    ]
    assert found == []


def test_every_module_stands_on_a_floor() -> None:
    assert [module for _, module in modules() if part_of(module) is None] == []


def test_the_page_shows_the_same_floors() -> None:
    assert PAGE.read_text() == with_table(PAGE.read_text()), "run `python -m tests.test_architecture`"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("accounts.views", "import credits.services"),
        ("accounts.views", "def late():\n    from credits.services import grant"),
        ("accounts.views", "from aichat.chat import services"),
        ("aichat.core.errors", "from accounts.models import User"),
        ("aichat.core.config.env", "from aichat.core.database import transactions"),
        ("aichat.core.errors", "from aichat.core.money import CREDIT"),
        ("aichat.core.redis.health", "from aichat.core.web import responses"),
        ("aichat.chat.views", "from aichat.images import models"),
        ("aichat.chat.views", "from .. import images"),
        ("aichat.usage.models", "from aichat.promptcache import store"),
        ("aichat.catalog.models", "from aichat.providers.openai.chat import OpenAIChat"),
        ("aichat.providers.gemini.chat", "from aichat.providers.openai.chat import OpenAIChat"),
        ("aichat.providers.openai.chat", "from aichat.catalog import models"),
        ("credits.services", "from aichat.usage.models import UsageRecord"),
        ("aichat.generation.pipeline", "from aichat.health import readyz"),
        ("aichat.generation.pipeline", "from aichat.analytics.models import Event"),
        ("aichat.flags.models", "import importlib\nimportlib.import_module('credits.models')"),
        ("aichat.something_new", "import os"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("aichat.catalog.models", "from aichat.providers.base import Usage"),
        ("aichat.chat.views", "from credits.services import apply\nfrom aichat.core.web import responses"),
        ("aichat.providers.openai.chat", "from aichat.providers import http, registry"),
        ("aichat.analytics.views", "from accounts.permissions import IsAdmin"),
        ("admin_dashboard.pages.dashboard", "from aichat.analytics.models import Event"),
        ("aichat.urls", "import admin_dashboard, accounts"),
        ("credits.services", "import json, django"),
    ],
)
def test_what_the_table_allows_is_not_reported(module: str, source: str) -> None:
    assert violations(source, module) == []


def test_no_app_listens_to_another_by_signals() -> None:
    users = [str(path.relative_to(ROOT)) for path, _ in modules() if "django.db.models.signals" in path.read_text()]
    # It watches the tables of its own app, whoever saves them (the admin too): a change it missed would be a security hole.
    # `migrate` tells the engine for MongoDB what it is about to do.
    assert sorted(users) == ["accounts/caller_cache.py", "aichat/core/database/mongodb/base.py"]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
