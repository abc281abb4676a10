"""What the pages tell to type is true: each command is run here or by the test that is named before it, or says why not."""

import ast
import asyncio
import re
import shlex
import shutil
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from django.core.management import get_commands, load_command_class
from django.utils import timezone

from aichat.images import worker
from aichat.providers.demo.images import draw
from tests.conftest import Actor, loops
from tests.documented import PAGES, ROOT, Block, blocks, exchanges

COMMANDS = ("sh", "console")
MARK = re.compile(r"not run: \w.*|run by (tests/[\w/]+\.py)")
MEMBER = re.compile(r'"(\w+)": ?')
NAMED = re.compile(r'"(id|\w+_id|token|key|codes)": ?\[?"([^"]+)"')
SOMETIMES = {"state", "problem", "message", "mend"}  # of a price that there is something to say of


def curls() -> list[tuple[Block, str, str]]:
    """Every request of the pages that no mark excepts; those that delete come last, since others use what they delete."""
    found = [
        (block, command, printed)
        for block in blocks(*COMMANDS)
        if not block.mark
        for command, printed in exchanges(block)
        if command.startswith("curl ")
    ]
    return sorted(found, key=lambda each: "-X DELETE" in each[1])


def test_each_command_is_run_or_says_why_not() -> None:
    requests = {block for block, *_ in curls()}
    strays = {
        str(block)
        for block in blocks(*COMMANDS)
        if block not in requests
        and not MARK.fullmatch(block.mark)
        and not all(re.match(r"make \w|\w=", command) for command in block.commands)
    }
    assert strays == set()
    named = {found[1] for block in blocks() if (found := MARK.fullmatch(block.mark)) and found[1]}
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_each_block_says_its_language() -> None:
    assert [str(block) for block in blocks("")] == []


def words_after(name: str) -> Iterator[list[str]]:
    """The words that follow a name (`make`, `manage.py`) in the blocks and in the running text of all pages."""
    texts = [command for block in blocks(*COMMANDS) for command in block.commands]
    for page in PAGES:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        texts += re.findall(r"`([^`]+)`", prose)
    for text in texts:
        for found in re.findall(rf"(?:^|\s|/){re.escape(name)} ([^&|#]+)", text):
            yield found.split()


def test_the_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[0] for words in words_after("make")} - targets == set()


def test_the_commands_of_django_have_the_named_options() -> None:
    known = get_commands()
    wrong = set()
    for name, *words in words_after("manage.py"):
        application = known.get(name)
        if not application:
            wrong.add(name)
            continue
        command = load_command_class(application, name) if isinstance(application, str) else application
        options = command.create_parser("manage.py", name)._option_string_actions
        wrong |= {f"{name} {word}" for word in words if re.match(r"--\w", word) and word.split("=")[0] not in options}
    assert wrong == set()


def test_installed_packages_are_those_of_an_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    offered = {requirement for requirements in extras.values() for requirement in requirements}
    named = {
        word
        for block in blocks("sh")
        for command in block.commands
        if command.startswith("pip install ")
        for word in shlex.split(command)[2:]
    }
    assert named
    assert named - offered == set()


# --- Snippets: what a reader pastes into a file is at least grammatical ------------------------------------------------


def test_snippets_of_python_and_yaml_can_be_read() -> None:
    for block in blocks("python"):
        ast.parse(block.text.replace("[…]", "[...]").replace("{…}", "{...}"), str(block))
    for block in blocks("yaml"):
        assert yaml.safe_load(block.text), str(block)


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_snippets_of_javascript_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "snippets.mjs"
    file.write_text("".join(f"{{\n{block.text}}}\n" for block in blocks("js")))
    subprocess.run(["node", "--check", str(file)], check=True)


# --- Requests: sent to the server of the tests, in the order of the pages ----------------------------------------------


class Reader:
    """Types the requests of the pages: with a key of its own, and with the IDs that were answered in place of the printed."""

    def __init__(self, http: httpx.Client, key: str) -> None:
        self.http = http
        self.known = {"sk-…": key, "$API_KEY": key}
        month = timezone.now().strftime("%Y-%m")
        self.known |= {"2026-11": month, "2027-01-01": f"{timezone.now() + timedelta(days=30):%Y-%m-%d}"}
        for command in next(block for block in blocks("sh") if block.text.startswith("H=")).commands:
            name, value = shlex.split(command)[0].split("=", 1)
            self.known[f"${name}"] = value.replace("$API_KEY", key)

    def send(self, command: str) -> httpx.Response:
        words = shlex.split(command)[1:]
        for printed in sorted(self.known, key=len, reverse=True):
            words = [word.replace(printed, self.known[printed]) for word in words]
        given: dict[str, list[str]] = defaultdict(list)
        for option, value in pairwise(words):
            given[option].append(value)
        body = next(iter(given["-d"] + given["--data-binary"]), None)
        content = draw("a cat", "64x64") if body == "@cat.png" else body
        url = next(word for word in words if word.startswith("http://")).replace("http://127.0.0.1:8000", "")
        headers = dict(header.split(": ", 1) for header in given["-H"])
        method = next(iter(given["-X"]), "POST" if body else "GET")
        return self.http.request(method, url, headers=headers, content=content)

    def learn(self, printed: str, answered: str) -> None:
        """Remember what stands for each printed ID: the first of its name in a page is the first in the answer, and so on."""
        values: dict[str, list[str]] = defaultdict(list)
        for name, value in NAMED.findall(answered):
            values[name].append(value)
        for name, value in NAMED.findall(printed):
            if values[name]:
                self.known.setdefault(value, values[name].pop(0))


def lacks(printed: str, answer: httpx.Response) -> set[str]:
    """The members that a page prints and an answer does not have; an empty list shows none of its own."""
    if "application/json" in answer.headers.get("content-type", "") and answer.json() in ([], {}):
        return set()
    if '"results":[]' in answer.text:
        printed = printed.partition('"results"')[0]
    return set(MEMBER.findall(printed)) - set(MEMBER.findall(answer.text)) - SOMETIMES


@pytest.fixture
def _worker(settings: Any, server_address: str) -> Iterator[None]:
    """The server also makes the pictures that are asked for in the background."""
    settings.IMAGE_WORKER_CONCURRENCY = 1
    settings.IMAGE_POLL_SECONDS = 0.05
    asyncio.run_coroutine_threadsafe(worker.start_embedded(), loops[-1]).result(timeout=10)
    yield
    asyncio.run_coroutine_threadsafe(worker.stop_embedded(), loops[-1]).result(timeout=20)


@pytest.mark.usefixtures("_worker")
def test_requests_are_answered_as_the_pages_say(http: httpx.Client, ada: Actor) -> None:
    reader = Reader(http, ada.key)
    http.post("/api/v1/chat", json={"message": "Hello!"}, headers=ada.headers).raise_for_status()  # there is some usage
    wrong = []
    for block, command, printed in curls():
        answer = reader.send(command)
        expected = int(printed[:3]) if printed[:3].isdigit() else 200
        if answer.status_code != expected or lacks(printed, answer):
            wrong.append(
                f"{block} {command}: {answer.status_code}, lacks {lacks(printed, answer)}: {answer.text[:300]}"
            )
        reader.learn(printed, answer.text)
    assert not wrong, "\n".join(wrong)
