"""The first start and the last second, as a person at a terminal meets them: real processes, real signals."""

import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest
from django.conf import settings

pytestmark = pytest.mark.xdist_group("start")  # one installation for the whole file
SECONDS = 30
PROVIDER_KEYS = ("OPENAI_API_KEY", "GEMINI_API_KEY", "REDIS_URL", "HTTPS", "DEBUG", "LOG_FORMAT")


def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`python …` in the repository, with nothing of this machine's settings."""
    bare = {"PATH": os.environ["PATH"], "SECRET_KEY": "for tests", **dict.fromkeys(PROVIDER_KEYS, "")}
    return subprocess.run(
        [sys.executable, *command],
        cwd=settings.BASE_DIR,
        env={**bare, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


@dataclass(frozen=True)
class Installation:
    """What `quickstart` alone leaves behind."""

    environment: dict[str, str]
    database: Path
    output: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.environment['PORT']}"

    @property
    def key(self) -> str:
        found = re.search(r"sk-\w+", self.output)
        assert found, self.output
        return found[0]

    @contextmanager
    def serving(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Plain `gunicorn aichat.asgi:application`, until it is ended or the block is left."""
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "aichat.asgi:application"], cwd=settings.BASE_DIR, env=self.environment
        )
        try:
            deadline = monotonic() + SECONDS
            while monotonic() < deadline:
                try:
                    httpx.get(f"{self.address}/healthz")
                    break
                except httpx.TransportError:
                    sleep(0.05)
            yield server
        finally:
            server.terminate()
            server.wait(SECONDS)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    database = tmp_path_factory.mktemp("installation") / "db.sqlite3"
    environment = {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "for tests",
        "DATABASE_URL": f"sqlite:///{database}",
        "PORT": free_port(),
        **dict.fromkeys(PROVIDER_KEYS, ""),
    }
    done = run("manage.py", "quickstart", **environment)
    assert done.returncode == 0, done.stderr
    return Installation(environment, database, done.stdout)


def test_after_quickstart_alone_gunicorn_answers_the_printed_curl_line(installation: Installation) -> None:
    line = next(line for line in installation.output.splitlines() if "curl" in line)
    words = shlex.split(line[line.index("curl") :])
    headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
    with installation.serving():
        answer = httpx.post(words[1], headers=headers, content=words[words.index("-d") + 1])
    assert "You wrote: Hello!" in answer.json()["choices"][0]["message"]["content"]


def test_pages_load_nothing_from_elsewhere_and_everything_they_name(installation: Installation) -> None:
    with installation.serving(), httpx.Client(base_url=installation.address) as client:
        for page in ("/admin/login/", "/api/docs/"):
            references = set(re.findall(r'(?:src|href)="([^"#]+)"', client.get(page).text))
            files = {reference for reference in references if reference.startswith("/static/")}
            assert files and not [reference for reference in references if "//" in reference]
            assert {file: client.get(file).status_code for file in files} == dict.fromkeys(files, 200)


def test_a_second_quickstart_changes_nothing(installation: Installation) -> None:
    def everything() -> list[str]:
        with sqlite3.connect(installation.database) as connection:
            return list(connection.iterdump())

    before = everything()
    again = run("manage.py", "quickstart", **installation.environment)
    assert again.returncode == 0
    assert "sk-" not in again.stdout
    assert everything() == before


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_running_stream_is_finished_before_the_server_ends(sent: signal.Signals, installation: Installation) -> None:
    body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "word " * 120}]}
    headers = {"Authorization": f"Bearer {installation.key}"}
    with ExitStack() as stack:
        server = stack.enter_context(installation.serving())
        response = stack.enter_context(
            httpx.stream("POST", f"{installation.address}/v1/chat/completions", json=body, headers=headers)
        )
        lines = response.iter_lines()
        next(lines)
        server.send_signal(sent)
        assert list(lines)[-2] == "data: [DONE]"
        assert server.wait(timeout=10) == 0


def test_a_busy_port_is_one_clear_line(installation: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = run("-m", "gunicorn", "aichat.asgi:application", **{**installation.environment, "PORT": str(port)})
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"Can't listen on 127.0.0.1:{port} (Address already in use)")


def gunicorn(**environment: str) -> "subprocess.CompletedProcess[str]":
    return run("-m", "gunicorn", "aichat.asgi:application", **environment)


def a_command(**environment: str) -> "subprocess.CompletedProcess[str]":
    return run("manage.py", "verify_ledger", **environment)


@pytest.mark.parametrize("start", [gunicorn, a_command])
@pytest.mark.parametrize("value", ["abc", "10"])  # wrong on its own; wrong beside the other timeouts
def test_a_wrong_setting_is_one_clear_line(
    start: Callable[..., "subprocess.CompletedProcess[str]"], value: str
) -> None:
    ended = start(HOLD_TTL=value)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Configuration error: HOLD_TTL")
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
