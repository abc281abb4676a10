"""An upgrade beside the version before, tried for real: `make upgrade FROM=<commit or tag>`. Prints a table; a few minutes.

1. The earlier version makes a database and is used.
2. This version migrates the database: every row is still there, and the ledger is right.
3. The earlier version goes on serving, on the migrated tables, as its servers do while they are replaced one by one.
4. This version serves; the ledger is right.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx

from tests.engines import DATABASES, free_port

ROOT = Path(__file__).resolve().parent.parent
COUNT = """
import json
from django.apps import apps
ours = ("aichat.", "accounts.", "credits.", "admin_dashboard.")
models = [model for model in apps.get_models() if model.__module__.startswith(ours)]
print("COUNTS" + json.dumps({model._meta.label: model._base_manager.count() for model in models}))
"""
COMPLETION = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
USES: dict[
    str, tuple[str, str, Any]
] = {  # what people do all day; the last two write rows that are read with each request
    "chat": ("POST", "/api/v1/chat", {"message": "Hello", "model": "demo"}),
    "completion": ("POST", "/v1/chat/completions", COMPLETION),
    "stream": ("POST", "/v1/chat/completions", {**COMPLETION, "stream": True}),
    "picture": ("POST", "/v1/images/generations", {"prompt": "A cat"}),
    "background picture": ("POST", "/api/v1/images", {"prompt": "A cat", "background": True}),
    "conversations": ("GET", "/api/v1/conversations", None),
    "credits": ("GET", "/api/v1/credits", None),
    "usage": ("GET", "/api/v1/usage", None),
    "new key": ("POST", "/api/v1/api-keys", {"name": "another"}),
    "registration": ("POST", "/api/v1/auth/register", {"email": "", "password": "correct horse battery staple"}),
}


class Version:
    """The code of one version, run on the database that both versions share."""

    def __init__(self, name: str, code: Path, environment: dict[str, str]) -> None:
        self.name, self.code, self.environment = name, code, environment
        self.address = f"http://127.0.0.1:{environment['PORT']}"

    def manage(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=self.code,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            sys.exit(f"{self.name}: {' '.join(words[:2])} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def counts(self) -> dict[str, int]:
        """How many rows each of the version's own tables has."""
        found = re.search(r"COUNTS(\{.*\})", self.manage("shell", "-c", COUNT))
        assert found
        counts: dict[str, int] = json.loads(found[1])
        return counts

    def use(self, key: str) -> dict[str, int]:
        """The status of each of `USES`, asked of a server of this version."""
        with self.serving(), httpx.Client(base_url=self.address, timeout=30) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            statuses = {}
            for name, (method, path, body) in USES.items():
                if name == "registration":
                    body = {**body, "email": f"person-{time.time_ns()}@example.com"}
                statuses[name] = client.request(method, path, json=body).status_code
            until(lambda: not any(job["status"] in {"queued", "running"} for job in jobs(client)), "the pictures")
            return statuses

    @contextmanager
    def serving(self) -> Iterator[None]:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "aichat.asgi:application"],
            cwd=self.code,
            env=self.environment,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: answers(f"{self.address}/readyz"), f"the server of {self.name}")
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def jobs(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/v1/images").json()["results"]
    return found


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=2).is_success
    except httpx.TransportError:
        return False


def until(is_so: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(f"{what} did not come within {seconds:.0f} seconds")
        time.sleep(0.2)


def earlier_code(commit: str, directory: Path) -> Path:
    """The files of a commit, unpacked."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
    return directory


def try_upgrade(commit: str, engine: str) -> bool:
    """Try it on one engine and print what came of it. Returns whether rows, ledger and all uses were right."""
    server = DATABASES[engine]() if engine in DATABASES else None
    with tempfile.TemporaryDirectory(prefix="aichat-upgrade-") as name:
        directory = Path(name)
        environment = {
            **os.environ,
            "DATABASE_URL": server.url if server else f"sqlite:///{directory}/db.sqlite3",
            "MEDIA_ROOT": f"{directory}/media",
            "SETTLEMENT_JOURNAL": f"{directory}/journal",
            "SECRET_KEY": "only for this upgrade, and long enough for every check of Django's",
            "PORT": str(free_port()),
            "WEB_CONCURRENCY": "1",
            "LOG_LEVEL": "CRITICAL",
        }
        earlier = Version(commit, earlier_code(commit, directory / "earlier"), environment)
        this = Version("this version", ROOT, environment)
        try:
            return run(earlier, this, engine)
        finally:
            if server:
                server.close()


def run(earlier: Version, this: Version, engine: str) -> bool:
    key = re.findall(r"sk-\w+", earlier.manage("quickstart"))[0]
    columns = {"before": earlier.use(key)}
    had, began = earlier.counts(), time.monotonic()
    this.manage("migrate", "--no-input")
    seconds, has = time.monotonic() - began, this.counts()
    lost = {table: f"{rows} → {has.get(table, 0)}" for table, rows in had.items() if rows > has.get(table, 0)}
    ledger = [this.manage("verify_ledger")]
    columns["earlier code, migrated"] = earlier.use(key)
    columns["this version"] = this.use(key)
    ledger.append(this.manage("verify_ledger"))
    lines = [
        f"\n{engine}: {sum(had.values())} rows of {earlier.name} migrated in {seconds:.1f} s; lost: {lost or 'none'}",
        f"{'':20}" + "".join(f"{name:>26}" for name in columns),
        *(f"{use:20}" + "".join(f"{statuses[use]:>26}" for statuses in columns.values()) for use in USES),
        *{line.strip() for line in ledger},
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return not lost and all(status < 300 for statuses in columns.values() for status in statuses.values())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: make upgrade FROM=<commit or tag> (ENGINE=postgres)")
    engines = sys.argv[2:] or ["sqlite", "postgres", "mongodb"]
    results = [try_upgrade(sys.argv[1], engine) for engine in engines]  # of all, also after one that failed
    sys.exit(0 if all(results) else 1)
