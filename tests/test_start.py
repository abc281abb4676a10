"""The first start and the last second, as a person at a terminal meets them: real processes, real signals."""

import json
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
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest
from django.conf import settings

from aichat.core.config import reachable

pytestmark = pytest.mark.xdist_group("start")  # one installation for the whole file
SECONDS = 180  # of a whole start on a busy machine
PROVIDER_KEYS = ("OPENAI_API_KEY", "GEMINI_API_KEY", "ANTHROPIC_API_KEY", "REDIS_URL", "HTTPS", "DEBUG", "LOG_FORMAT")


def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`python …` in the repository, with nothing of this machine's settings."""
    bare = {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "only for tests, and as long as a secret has to be",
        **dict.fromkeys(PROVIDER_KEYS, ""),
    }
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


def wait_for(url: str) -> None:
    deadline = monotonic() + SECONDS
    while monotonic() < deadline:
        try:
            httpx.get(url)
            return
        except httpx.TransportError:
            sleep(0.05)


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
            wait_for(f"{self.address}/healthz")
            yield server
        finally:
            server.terminate()
            server.wait(SECONDS)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    database = tmp_path_factory.mktemp("installation") / "db.sqlite3"
    environment = {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "only for tests, and as long as a secret has to be",
        "DATABASE_URL": f"sqlite:///{database}",
        "SETTLEMENT_JOURNAL": str(database.parent / "journal"),
        "PORT": free_port(),
        **dict.fromkeys(PROVIDER_KEYS, ""),
    }
    done = run("manage.py", "quickstart", **environment)
    assert done.returncode == 0, done.stderr
    return Installation(environment, database, done.stdout)


def test_a_second_quickstart_changes_nothing(installation: Installation) -> None:
    def everything() -> dict[str, list[tuple[object, ...]]]:
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL TABLE%'"
        with sqlite3.connect(installation.database) as connection:
            return {
                name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in connection.execute(tables)
            }

    before = everything()
    again = run("manage.py", "quickstart", **installation.environment)
    assert again.returncode == 0
    assert "sk-" not in again.stdout
    assert everything() == before


@pytest.fixture(scope="module")
def served(installation: Installation) -> Iterator[Installation]:
    """The installation while it serves, on another port than the tests that start a server themselves."""
    here = replace(installation, environment={**installation.environment, "PORT": free_port()})
    here = replace(here, output=installation.output.replace(installation.address, here.address))
    with here.serving():
        yield here


def test_after_quickstart_alone_gunicorn_answers_the_printed_curl_line(served: Installation) -> None:
    line = next(line for line in served.output.splitlines() if "curl" in line)
    words = shlex.split(line[line.index("curl") :])
    headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
    answer = httpx.post(words[1], headers=headers, content=words[words.index("-d") + 1])
    assert "You wrote: Hello!" in answer.json()["choices"][0]["message"]["content"]


# --- The README, word for word ----------------------------------------------------------------------------------------


def readme(part: str, installation: Installation) -> list[str]:
    """The code blocks of a part of the README, with this installation's address and key in the place of its examples."""
    text = (settings.BASE_DIR / "README.md").read_text().partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    text = text.replace("http://127.0.0.1:8000", installation.address).replace("\\\n", "")
    return [re.sub(r"sk-…", installation.key, block) for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)]


def shape(value: object) -> object:
    """The names in an answer, without its values."""
    return {name: shape(each) for name, each in value.items()} if isinstance(value, dict) else None


def test_the_readme_s_requests_are_answered_as_it_says(served: Installation) -> None:
    curl, python, *_ = readme("Chat", served)
    command, _, printed = curl.partition("\n{")
    words = shlex.split(command.removeprefix("$ ").replace("$API_KEY", served.key))
    headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
    answer = httpx.post(words[1], headers=headers, content=words[words.index("-d") + 1]).json()
    said = run("-c", python, **served.environment)
    assert shape(answer) == shape(json.loads("{" + printed))
    assert answer["message"]["content"] == json.loads("{" + printed)["message"]["content"]
    assert "You wrote: Hello!" in said.stdout, said.stderr


def test_the_readme_s_commands_print_what_it_says(served: Installation) -> None:
    signing_up, block = readme("People, keys and budgets", served)
    _, url, *_, body = shlex.split(signing_up)
    httpx.post(url, content=body, headers={"Content-Type": "application/json"}).raise_for_status()
    lines = block.replace(served.key, "sk-").splitlines()
    assert len(lines) == 6
    for command, expected in zip(lines[::2], lines[1::2], strict=True):
        ended = run(*shlex.split(command.removeprefix("$ "))[1:], **served.environment)
        assert ended.stdout.startswith(expected), command + ended.stderr


def test_pages_load_nothing_from_elsewhere_and_everything_they_name(served: Installation) -> None:
    with httpx.Client(base_url=served.address) as client:
        for page in ("/admin/login/", "/api/docs/"):
            references = set(re.findall(r'(?:src|href)="([^"#]+)"', client.get(page).text))
            files = {reference for reference in references if reference.startswith("/static/")}
            assert files and not [reference for reference in references if "//" in reference]
            assert {file: client.get(file).status_code for file in files} == dict.fromkeys(files, 200)


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
    assert ended.stderr.startswith(f"Can't listen on 127.0.0.1:{port} (Address already in use)")
    assert ended.stderr.count("\n") == 1


def models_of(client: httpx.Client) -> set[str]:
    return {model["id"] for model in client.get("/v1/models").json()["data"]}


def test_after_migrate_alone_the_demo_model_answers_and_a_key_and_a_restart_bring_its_models(tmp_path: Path) -> None:
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3", "PORT": free_port(), "PATH": os.environ["PATH"]}
    environment |= {
        "SECRET_KEY": "only for tests, and as long as a secret has to be",
        **dict.fromkeys(PROVIDER_KEYS, ""),
    }
    assert run("manage.py", "migrate", **environment).returncode == 0
    signed_up = {"email": "carol@example.com", "password": "a long and quiet river"}
    here = Installation(environment, tmp_path / "db.sqlite3", "")
    with here.serving(), httpx.Client(base_url=here.address) as client:
        token = client.post("/api/v1/auth/register", json=signed_up).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]}
        assert client.post("/v1/chat/completions", json=body).json()["model"] == "demo"
        assert "gpt-4o-mini" not in models_of(client)
    with_key = Installation({**environment, "OPENAI_API_KEY": "sk-made-up"}, here.database, "")
    with (
        with_key.serving(),
        httpx.Client(base_url=here.address, headers={"Authorization": f"Bearer {token}"}) as client,
    ):
        assert "gpt-4o-mini" in models_of(client)


def test_runserver_streams_an_answer_piece_by_piece_to_its_end(installation: Installation) -> None:
    command = [sys.executable, "manage.py", "runserver", "--noreload"]
    server = subprocess.Popen(command, cwd=settings.BASE_DIR, env=installation.environment)
    try:
        wait_for(f"{installation.address}/healthz")
        body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "word " * 50}]}
        headers = {"Authorization": f"Bearer {installation.key}"}
        url = f"{installation.address}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, headers=headers) as response:
            parts = list(response.iter_raw())
        assert len(parts) > 3
        assert b"".join(parts).endswith(b"data: [DONE]\n\n")
    finally:
        server.terminate()
        server.wait(SECONDS)


@pytest.mark.parametrize("scheme", ["postgres", "mongodb"])
def test_a_database_that_is_not_there_is_one_clear_line(scheme: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    ended = run("manage.py", "verify_ledger", DATABASE_URL=f"{scheme}://{address}/aichat")
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"DATABASE_URL: no database answers at {address}")
    assert ended.stderr.count("\n") == 1


SILENT: dict[str, Callable[[str], dict[str, str]]] = {
    "postgres": lambda address: {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": address.partition(":")[2],
    },
    "mongodb": lambda address: {"ENGINE": "aichat.core.database.mongodb", "HOST": f"mongodb://{address}/aichat"},
}


@pytest.mark.parametrize("scheme", SILENT)
def test_a_database_that_accepts_and_says_nothing_is_named_within_three_seconds(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        began = monotonic()
        problem = reachable.database_problem(SILENT[scheme](address))
    assert problem.startswith(f"DATABASE_URL: no database answers at {address} (timed out)")
    assert monotonic() - began < 3.5


def test_a_misspelt_setting_is_named_with_the_likely_one() -> None:
    ended = run("manage.py", "check", OPENAI_APIKEY="sk-made-up")
    assert "OPENAI_APIKEY is no setting" in ended.stderr
    assert "Did you mean OPENAI_API_KEY?" in ended.stderr


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


def test_a_server_without_its_database_says_so_in_one_line(installation: Installation, tmp_path: Path) -> None:
    database = f"postgres://127.0.0.1:{free_port()}/aichat"
    environment = {**installation.environment, "DATABASE_URL": database, "PORT": free_port(), "WEB_CONCURRENCY": "1"}
    command = [sys.executable, "-m", "gunicorn", "aichat.asgi:application"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment, stdout=output, stderr=output)
    wait_for(f"http://127.0.0.1:{environment['PORT']}/healthz")
    server.terminate()
    server.wait(SECONDS)
    said = log.read_text()
    assert said.count("DATABASE_URL: no database answers at 127.0.0.1") == 1
    assert "Traceback" not in said and "failed" not in said, said
