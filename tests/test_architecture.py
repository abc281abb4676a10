"""Who may import whom: `docs/ARCHITECTURE.md`'s table as data, held against every import of the product."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("aichat", "accounts", "credits", "admin_dashboard")

# May import anything of ours, and nobody imports them.
WIRING = {"aichat.management", "aichat.settings", "aichat.urls", "aichat.asgi", "aichat.views", "aichat.apps"}
LEAVES = {
    f"aichat.{name}"
    for name in (
        "addresses",
        "admin",
        "audit",
        "cache",
        "celery",
        "charts",
        "checks",
        "db",
        "env",
        "errors",
        "events",
        "formats",
        "lanes",
        "hot",
        "lifecycle",
        "logs",
        "measurements",
        "metrics",
        "middleware",
        "money",
        "periodic",
        "mongodb",
        "openapi",
        "rest",
        "serving",
        "statsd",
        "statements",
        "tracing",
        "webhooks",
    )
}
# A part may import itself, the leaves, and what these reach. The longest matching name says what a module belongs to.
PARTS = {
    "admin_dashboard": {"aichat.analytics", "aichat.chat", "aichat.images"},
    "aichat.chat": {"aichat.generation"},
    "aichat.images": {"aichat.generation"},
    "aichat.generation": {
        "aichat.usage",
        "credits",
        "aichat.catalog",
        "aichat.flags",
        "aichat.idempotency",
        "aichat.promptcache",
        "aichat.providers",
        "accounts",
    },
    "aichat.usage": {"credits", "aichat.catalog", "aichat.providers.base", "accounts"},
    "credits": {"accounts"},
    "aichat.catalog": {"accounts", "aichat.providers.registry"},
    "aichat.flags": {"accounts"},
    "aichat.promptcache": {"aichat.catalog", "accounts"},
    "aichat.idempotency": {"accounts"},
    "aichat.analytics": {"accounts"},
    "accounts": set(),
    "aichat.providers": {"aichat.providers.registry"},
    "aichat.providers.registry": {"aichat.providers.base", "aichat.providers.images"},
    "aichat.providers.images": {"aichat.providers.base"},
    "aichat.providers.base": set(),
}


def part_of(module: str) -> str | None:
    """The part a module belongs to; None for a module the table does not know."""
    if module in PACKAGES and module not in PARTS:
        return "leaves"  # the empty `aichat/__init__.py`
    names = [name for name in [*PARTS, *LEAVES, *WIRING] if module == name or module.startswith(name + ".")]
    best = max(names, key=len, default=None)
    return "leaves" if best in LEAVES else "wiring" if best in WIRING else best


def reach(part: str) -> set[str]:
    """The parts that `part` may import."""
    found = {part, "leaves"}
    for target in PARTS.get(part, ()):
        found |= reach(target)
    return found


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
    part = part_of(module)
    if part is None:
        return [f"{module} is in no part: add it to the table"]
    if part == "wiring":
        return []
    allowed = reach(part)
    return [
        f"{module}:{line} imports {name}: {part} may not import {part_of(name)}"
        for line, name in imports(source, module, is_package=is_package)
        if part_of(name) not in allowed
    ]


def modules() -> Iterator[tuple[Path, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            names = path.relative_to(ROOT).with_suffix("").parts
            yield path, ".".join(names[:-1] if names[-1] == "__init__" else names)


def test_every_import_goes_downward() -> None:
    found = [
        violation
        for path, module in modules()
        for violation in violations(path.read_text(), module, is_package=path.name == "__init__.py")
    ]
    assert found == []


def test_every_module_has_its_place_in_the_table() -> None:
    assert [module for _, module in modules() if part_of(module) is None] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("accounts.views", "import credits.services"),
        ("accounts.views", "def late():\n    from credits.services import grant"),
        ("accounts.views", "from aichat.chat import services"),
        ("aichat.errors", "from accounts.models import User"),
        ("aichat.chat.views", "from aichat.images import models"),
        ("aichat.chat.views", "from .. import images"),
        ("aichat.usage.models", "from aichat.providers import wire"),
        ("aichat.catalog.models", "from aichat.providers.openai import OpenAIChat"),
        ("aichat.providers.openai", "from aichat.catalog import models"),
        ("credits.services", "from aichat.usage.models import UsageRecord"),
        ("aichat.generation.chat", "from aichat.views import MeView"),
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
        ("aichat.chat.views", "from credits.services import apply\nfrom aichat import db, rest"),
        ("aichat.providers.openai", "from aichat.providers import wire, registry"),
        ("aichat.urls", "import admin_dashboard, accounts"),
        ("credits.services", "import json, django"),
    ],
)
def test_what_the_table_allows_is_not_reported(module: str, source: str) -> None:
    assert violations(source, module) == []


def test_no_app_listens_to_another_by_signals() -> None:
    users = [str(path.relative_to(ROOT)) for path, _ in modules() if "django.db.models.signals" in path.read_text()]
    # It watches the tables of its own app, whoever saves them (the admin too): a change it missed would be a security hole.
    assert users == ["accounts/known.py"]
