"""What one of the databases can't do stays out of the code they share: found by reading it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db import models

from tests.test_architecture import PACKAGES, ROOT

# Whose files may know their engine.
ENGINES = ("aichat/core/database/", "credits/engines/", "aichat/chat/search.py")
NAMES = {
    "GeneratedField": "compute the value in Python",
    "Window": "aggregate in Python, or store what you need",
    "RawSQL": "write it with the ORM",
    "select_for_update": "it does nothing on MongoDB: use one conditional update()",
    "remove_perm": "guardian deletes across a join: delete the permission's row",
    "StringAgg": "PostgreSQL only",
    "ArrayAgg": "PostgreSQL only",
}
ARGUMENTS = {
    "ignore_conflicts": "catch the IntegrityError of one row",
    "update_conflicts": "use update_or_create()",
}
METHODS = {"raw": "write it with the ORM", "extra": "write it with the ORM", "cursor": "write it with the ORM"}


def findings(source: str) -> Iterator[tuple[int, str]]:
    """Line and mend of everything in `source` that does not work on all of the databases."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("django", "guardian")):
            names = [alias.name for alias in node.names]
        for name in names:
            if name in NAMES:
                yield getattr(node, "lineno", 0), f"{name}: {NAMES[name]}"
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg in ARGUMENTS:
                yield node.lineno, f"{keyword.arg}: {ARGUMENTS[keyword.arg]}"
        if isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if node.func.attr in METHODS and (owner.startswith("connection") or "objects" in owner):
                yield node.lineno, f".{node.func.attr}(): {METHODS[node.func.attr]}"
            if node.func.attr == "atomic" and owner.endswith("transaction"):
                yield (
                    node.lineno,
                    "Django's atomic() does nothing on MongoDB: use aichat.core.database.transactions.run_atomic()",
                )


def shared_files() -> Iterator[Path]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if not str(path.relative_to(ROOT)).startswith(ENGINES):
                yield path


def test_shared_code_uses_what_every_database_can_do() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} {mend}"
        for path in shared_files()
        for line, mend in findings(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "Wallet.objects.select_for_update().get()",
        "from django.db.models import Window",
        "User.objects.bulk_create(rows, ignore_conflicts=True)",
        "User.objects.raw('SELECT 1')",
        "with connection.cursor() as c: pass",
        "with transaction.atomic(): pass",
    ],
)
def test_what_does_not_work_everywhere_is_found(source: str) -> None:
    assert len(list(findings(source))) == 1


def test_our_tables_have_keys_that_every_database_has() -> None:
    every = [model for model in apps.get_models() if not model._meta.proxy]
    ours = [model for model in every if model.__module__.split(".")[0] in PACKAGES]
    assert ours
    assert [model._meta.label for model in ours if isinstance(model._meta.pk, models.AutoField)] == []


def test_days_are_days_of_utc() -> None:
    assert settings.TIME_ZONE == "UTC"
