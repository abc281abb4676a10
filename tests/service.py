"""The product as operators run it: gunicorn with several worker processes, on a database of its own."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings

from tests import schema
from tests.engines import DATABASES, Server, end_with_parent, free_port, process_tree

ROOT = Path(__file__).resolve().parent.parent
ENGINES = {"postgresql": "postgres", "mongodb": "mongodb"}


class Service:
    """`database` is the real server behind it, which a test may stop and start; None with SQLite."""

    def __init__(
        self,
        directory: Path,
        database: Server | None,
        workers: int,
        options: dict[str, str],
        application: str = "aichat.asgi:application",
    ) -> None:
        self.database, self.count = database, workers
        self.address = f"http://127.0.0.1:{free_port()}"
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "aichat.settings",
            "DATABASE_URL": database.url if database else f"sqlite:///{directory}/db.sqlite3",
            "PORT": self.address.rpartition(":")[2],
            "WEB_CONCURRENCY": str(workers),
            "LOG_LEVEL": "WARNING",
            "SETTLEMENT_JOURNAL": str(directory / "journal"),  # those of a host share one
            **options,
        }
        if database is None:
            schema.copy_file(directory / "db.sqlite3")
        self.log = directory / "log"
        keys = self.manage("quickstart")
        self.key = re.findall(r"sk-\w+", keys)[0]
        self.password = re.findall(r"password +(\S+)", keys)[0]
        self.headers = {"Authorization": f"Bearer {self.key}"}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", application],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=output,
                preexec_fn=partial(end_with_parent, signal.SIGTERM),
                start_new_session=True,
            )

    def manage(self, *words: str) -> str:
        """Run a command to its end; its output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def wait_until_ready(self) -> None:
        """Until it answers and all its workers are there: the first one answers before the second is."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                ready = httpx.get(f"{self.address}/readyz", timeout=5).status_code == 200
                if ready and len(self.workers()) >= self.count:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise RuntimeError(self.log.read_text(errors="replace")[-3000:])

    def workers(self) -> list[int]:
        """The process IDs of the workers."""
        return process_tree(self.process.pid)[1:]

    def credits(self) -> dict[str, str]:
        found = httpx.get(f"{self.address}/api/v1/credits", headers=self.headers, timeout=30).json()
        return {name: found[name] for name in ("balance", "held", "available")}

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


def new_database() -> Server | None:
    """A server of the engine that this run of the tests is about; None for SQLite."""
    engine = ENGINES.get(str(settings.DATABASES["default"]["ENGINE"]).rpartition(".")[2])
    return DATABASES[engine]() if engine else None


@contextmanager
def running_service(workers: int = 2, database: Any = None, **options: str) -> Iterator[Service]:
    """A service on a database of its own (of `new_database`), which ends with it."""
    database = database or new_database()
    with tempfile.TemporaryDirectory(prefix="aichat-service-", ignore_cleanup_errors=True) as directory:
        service = None
        try:
            service = Service(Path(directory), database, workers, options)
            service.wait_until_ready()
            yield service
        finally:
            if service:
                service.close()
            if database:
                database.close()
