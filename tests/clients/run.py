"""`make clients`: each client as its users run it, against the product as its operators run it.

Behind the product a scripted model (`scripted.py`) calls one tool and then answers, so that agents finish a task. Prints a
table, proves the ledger, and exits 1 when a client failed.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from tests.clients import scripted
from tests.service import Service, running_service
from tests.upstream import Upstream

HERE = Path(__file__).parent
PACKAGES = json.loads((HERE / "package.json").read_text())["dependencies"]
PINS = (line.split("==") for line in (HERE / "requirements.txt").read_text().split())
VERSIONS = {name.partition("[")[0]: version for name, version in PINS}
# The Python clients by their function in `python_clients.py`: the package, and what of it is run.
PYTHON_CLIENTS = {
    "langchain_openai": ("langchain-openai", "chat and responses: text, stream, tool"),
    "langchain_anthropic": ("langchain-anthropic", "text, stream, tool"),
    "litellm": ("litellm", "chat, messages, responses, stream"),
    "pydantic_ai": ("pydantic-ai-slim", "chat and responses: an agent with a tool"),
    "instructor": ("instructor", "an object by its schema"),
    "llama_index": ("llama-index-llms-openai", "chat and responses"),
    "smolagents": ("smolagents", "a model's answer"),
    "dspy": ("dspy", "a model's answer"),
    "haystack": ("haystack-ai", "a generator's answer"),
    "agno": ("agno", "chat and responses: an agent with a tool"),
    "autogen": ("autogen-agentchat", "an agent with a tool, stream"),
    "strands": ("strands-agents", "an agent with a tool, stream"),
    "llm": ("llm", "the command: text, stream, tool"),
    "shell_gpt": ("shell-gpt", "the command sgpt: stream"),
}
EMBEDDERS = {
    "mem0": ("mem0ai", "its embedder"),
    "langchain_embeddings": ("langchain-openai", "embeddings of texts"),
    "llama_index_embeddings": ("llama-index-embeddings-openai", "embeddings"),
    "litellm_embeddings": ("litellm", "embeddings"),
    "haystack_embeddings": ("haystack-ai", "embeddings of texts and documents"),
}
KNOWS_MODELS = {"llama_index"}  # by their names: it refuses any other than OpenAI's
TIMEOUT = 180  # seconds for one client
EMBEDDING_MODEL = "text-embedding-3-small"
# The model each dialect is tried with: one of each provider, so that every translation is walked.
MODELS = ("gpt-4.1-mini", "gemini-3.8-flash", "claude-sonnet-5-5")
CODEX_CONFIG = """
model = "{model}"
model_provider = "aichat"
[model_providers.aichat]
name = "aichat"
base_url = "{address}/v1"
env_key = "AICHAT_API_KEY"
wire_api = "responses"
"""


@dataclass(frozen=True)
class Run:
    """One client with one model; `start` runs it in an empty directory and raises `AssertionError` when it failed."""

    client: str
    version: str
    what: str
    model: str
    start: Callable[[Service, Path], None]


def runs(node_modules: Path) -> Iterator[Run]:
    for model in MODELS:
        for name, script, what in (
            ("openai", "openai_sdk", "chat, responses, stream, tool"),
            ("@openai/agents", "openai_agents", "tool, stream, structured output"),
            ("@anthropic-ai/sdk", "anthropic_sdk", "message, stream, tool runner, count"),
        ):
            yield Run(f"{name} (npm)", PACKAGES[name], what, model, script_of(node_modules, script, model))
        name, what = "@langchain/openai", "chat and responses: text, stream, tool"
        yield Run(f"{name} (npm)", PACKAGES[name], what, model, script_of(node_modules, "langchain_js", model))
        start = script_of(node_modules, "openai_sdk", model, PACKAGE="openai-6")
        yield Run("openai 6 (npm)", PACKAGES["openai-6"].rpartition("@")[2], "as openai 7", model, start)
        for provider in ("openai", "anthropic"):
            name, what = f"@ai-sdk/{provider}", "text, stream, tool, object"
            start = script_of(node_modules, "ai_sdk", model, PROVIDER=provider)
            yield Run(f"ai {PACKAGES['ai']} with {name}", PACKAGES[name], what, model, start)
        yield Run("Codex CLI", PACKAGES["@openai/codex"], "a task with a shell call", model, codex(node_modules, model))
        claude = claude_code(node_modules, model)
        yield Run("Claude Code", PACKAGES["@anthropic-ai/claude-code"], "a task with a shell call", model, claude)
        qwen = qwen_code(node_modules, model)
        yield Run("Qwen Code", PACKAGES["@qwen-code/qwen-code"], "a task with a shell call", model, qwen)
    start = script_of(node_modules, "langchain_js", EMBEDDING_MODEL, KIND="embeddings")
    yield Run("@langchain/openai (npm)", PACKAGES["@langchain/openai"], "embeddings", EMBEDDING_MODEL, start)


def python_runs(python: Path) -> Iterator[Run]:
    for function, (package, what) in PYTHON_CLIENTS.items():
        for model in MODELS[:1] if function in KNOWS_MODELS else MODELS:
            yield Run(f"{package} (Python)", VERSIONS[package], what, model, python_client(python, function, model))
    for function, (package, what) in EMBEDDERS.items():
        start = python_client(python, function, EMBEDDING_MODEL)
        yield Run(f"{package} (Python)", VERSIONS[package], what, EMBEDDING_MODEL, start)


def python_client(python: Path, function: str, model: str) -> Callable[[Service, Path], None]:
    def start(service: Service, directory: Path) -> None:
        environment = {"ADDRESS": service.address, "KEY": service.key, "MODEL": model}
        offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        execute([str(python), str(HERE / "python_clients.py"), function], directory, {**environment, **offline})

    return start


def script_of(node_modules: Path, script: str, model: str, **options: str) -> Callable[[Service, Path], None]:
    def start(service: Service, directory: Path) -> None:
        code = directory / f"{script}.mjs"
        code.write_text((HERE / f"{script}.mjs").read_text())
        (directory / "node_modules").symlink_to(node_modules)
        environment = {"ADDRESS": service.address, "KEY": service.key, "MODEL": model, **options}
        execute(["node", str(code)], directory, environment)

    return start


def codex(node_modules: Path, model: str) -> Callable[[Service, Path], None]:
    def start(service: Service, directory: Path) -> None:
        home = directory / "home"
        home.mkdir()
        (home / "config.toml").write_text(CODEX_CONFIG.format(model=model, address=service.address))
        words = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "Write hi to out.txt"]
        environment = {"CODEX_HOME": str(home), "AICHAT_API_KEY": service.key}
        execute([str(node_modules / ".bin" / "codex"), *words], directory, environment)
        assert (directory / "out.txt").read_text() == "hi\n"

    return start


def claude_code(node_modules: Path, model: str) -> Callable[[Service, Path], None]:
    def start(service: Service, directory: Path) -> None:
        environment = {
            "HOME": str(directory),
            "IS_SANDBOX": "1",
            "ANTHROPIC_BASE_URL": service.address,
            "ANTHROPIC_AUTH_TOKEN": service.key,
            "ANTHROPIC_MODEL": model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        words = ["-p", "Write hi to out.txt", "--dangerously-skip-permissions"]
        execute([str(node_modules / ".bin" / "claude"), *words], directory, environment)
        assert (directory / "out.txt").read_text() == "hi\n"

    return start


def qwen_code(node_modules: Path, model: str) -> Callable[[Service, Path], None]:
    def start(service: Service, directory: Path) -> None:
        environment = {"OPENAI_BASE_URL": f"{service.address}/v1", "OPENAI_API_KEY": service.key, "OPENAI_MODEL": model}
        words = ["--auth-type", "openai", "--yolo", "-p", "Write hi to out.txt"]
        execute([str(node_modules / ".bin" / "qwen"), *words], directory, environment)
        assert (directory / "out.txt").read_text() == "hi\n"

    return start


def execute(command: Sequence[str], directory: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def main() -> int:
    node_modules, python = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).absolute()
    wanted = sys.argv[3:]
    failures = 0
    with Upstream().running() as upstream:
        upstream.choose = scripted.act
        keys: Any = {
            "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{upstream.address}/v1",
            "GEMINI_API_KEY": "k", "GEMINI_BASE_URL": upstream.address,
            "ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": upstream.address,
            "STARTER_CREDITS": "100000", "RATE_LIMIT_ADMIN": "10000/min",
        }  # fmt: skip
        with running_service(**keys) as service:
            print("| client | version | what ran | model | result |\n| --- | --- | --- | --- | --- |")  # noqa: T201
            for run in (*runs(node_modules), *python_runs(python)):
                if wanted and not any(word in f"{run.client} {run.model}" for word in wanted):
                    continue
                with tempfile.TemporaryDirectory(prefix="aichat-client-", ignore_cleanup_errors=True) as directory:
                    result = outcome(run, service, Path(directory))
                failures += result != "passed"
                print(f"| {run.client} | {run.version} | {run.what} | {run.model} | {result} |", flush=True)  # noqa: T201
            print(service.manage("verify_ledger").strip())  # noqa: T201
    return 1 if failures else 0


def outcome(run: Run, service: Service, directory: Path) -> str:
    try:
        run.start(service, directory)
    except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
        print(f"{run.client}: {error}", file=sys.stderr)  # noqa: T201
        return "failed"
    return "passed"


if __name__ == "__main__":
    sys.exit(main())
