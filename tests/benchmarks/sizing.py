"""How large a machine has to be: writes the table of docs/deployment/sizing.md.

    python -m tests.benchmarks.sizing [--keep-growth | --chats 10000]

Chats a second and memory come from docs/BENCHMARKS.md. How a database grows is measured here, with real chats, or kept as it
stands in the table.
"""

import argparse
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pymongo

from tests.benchmarks import report, systems
from tests.benchmarks.http import JSON, PAGE, Questions, load
from tests.engines import MongoDB, Postgres, Server
from tests.service import ROOT

TABLE = ROOT / "docs" / "deployment" / "sizing.md"
HEAD = ("", "PostgreSQL", "MongoDB", "SQLite")
FIRST = 2_000  # chats before the first look: a young database takes its files in large pieces


def postgres_bytes(server: Server | None, home: Path) -> int:
    assert server
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row
    return int(row[0])


def mongodb_bytes(server: Server | None, home: Path) -> int:
    assert server
    client: pymongo.MongoClient[Any]
    with pymongo.MongoClient(server.url) as client:
        client.admin.command("fsync")
        return int(client.get_default_database().command("dbStats")["totalSize"])


def sqlite_bytes(server: Server | None, home: Path) -> int:
    with closing(sqlite3.connect(home / "db.sqlite3")) as connection:
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)


Engine = tuple[Callable[[], Server | None], Callable[[Server | None, Path], int]]
ENGINES: dict[str, Engine] = {
    "PostgreSQL": (lambda: Postgres(is_durable=True), postgres_bytes),
    "MongoDB": (MongoDB, mongodb_bytes),
    "SQLite": (lambda: None, sqlite_bytes),
}


def growth(name: str, chats: int) -> str:
    """GB that a million chats add to this engine, indexes included, from `chats` of them."""
    start, size = ENGINES[name]
    questions = Questions()
    with TemporaryDirectory(prefix="aichat-sizing-", ignore_cleanup_errors=True) as folder, ExitStack() as stack:
        provider = stack.enter_context(systems.upstream(Path(folder)))
        server = start()
        system = stack.enter_context(systems.ours(Path(folder), provider, server))
        ask = replace(JSON, connections=32, seconds=600.0)
        load(ask, system, questions.take(), requests=FIRST)
        before = size(server, Path(folder) / name)
        seen = load(ask, system, questions.take(), requests=chats)
        after = size(server, Path(folder) / name)
    found = f"{(after - before) / seen['answered'] / 1000:.1f} GB"
    print(f"{name}: {seen['answered']:,} chats, {before:,} -> {after:,} bytes, {found} a million", flush=True)  # noqa: T201
    return found


def from_benchmarks() -> Iterator[tuple[str, ...]]:
    """The rows whose figures docs/BENCHMARKS.md has."""
    page = PAGE.read_text()
    side_by_side = page.partition("## The databases side by side")[2]
    for title, row in (("chats", "JSON answer"), ("streams of 20 chunks", "stream of 20 chunks, 5 ms apart")):
        cells = re.findall(rf"^\| {row} \|(.*)\|$", side_by_side, re.MULTILINE)[0].split("|")
        yield f"{title} a second for each core", *(f"{1000 / float(cell.split()[0]):,.0f}" for cell in cells)
    before, most = (
        float(each.replace(",", ""))
        for each in re.findall(r"^\| 5,000, .*?\| ours.* ([\d,]+) → ([\d,]+) \|", page, re.MULTILINE)[0]
    )
    yield "MiB of the server for 1,000 open streams", f"{(most - before) / 5:.0f}", "–", "–"
    yield "open streams for each GB beyond the start", f"{1000 * 5 * 1024 / (most - before):,.0f}", "–", "–"
    workers = dict(re.findall(r"^\| ours, (\w+)[^|]*\| (\d+) \|$", page, re.MULTILINE))
    yield "MiB of a worker after all loads", *(workers[name] for name in HEAD[1:])


def kept_growth(page: str) -> list[str]:
    return [cell.strip() for cell in re.findall(r"^\| a million chats .*?\|(.*)\|$", page, re.MULTILINE)[0].split("|")]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chats", type=int, default=10_000, help="how many are asked of each engine (10,000)")
    parser.add_argument("--keep-growth", action="store_true", help="take what a database grows from the table")
    options = parser.parse_args()
    page = TABLE.read_text()
    grown = kept_growth(page) if options.keep_growth else [growth(name, options.chats) for name in HEAD[1:]]
    rows = [*from_benchmarks(), ("a million chats take, indexes included", *grown)]
    TABLE.write_text(report.with_part(page, "sizing", report.table(HEAD, rows)))


if __name__ == "__main__":
    main()
