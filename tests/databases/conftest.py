"""Each engine has tests of its own beside those of all."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.conf import settings

from aichat.generation.charging import group_commit
from aichat.generation.charging.group_commit import Unit

ENGINE = str(settings.DATABASES["default"]["ENGINE"]).rpartition(".")[2]
collect_ignore_glob = [] if ENGINE == "mongodb" else ["test_mongodb*.py", "test_replica_set.py"]
if ENGINE != "sqlite":
    collect_ignore_glob += ["test_sqlite*.py"]
collect_ignore = []
if ENGINE == "sqlite":
    collect_ignore += ["test_lost_commits.py"]  # there is no network between SQLite and its commit


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left to threads."""

    def refuse(units: Sequence[Unit], unknown: object = None) -> list[Any]:
        raise AssertionError(f"{units} are left to a thread after {unknown!r}")

    monkeypatch.setattr(group_commit, "commit_each", refuse)
