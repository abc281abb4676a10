"""What is measured: our server, LiteLLM's proxy, and the floors under both; how each is started, and what it uses."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGTERM

import httpx
import orjson
import psycopg

from tests.benchmarks.floor_schema import FLOOR_SCHEMA
from tests.engines import Server, Valkey, end_with_parent, free_port
from tests.service import ROOT, Service

WORKERS = 2
PEOPLE = 50
MODELS = ["bench-0-0", "bench-50-0", "bench-0-5", "bench-50-5", "bench-50-750", "bench-50-2000"]
LITELLM = "litellm[proxy]==1.108.7"
MASTER_KEY = "sk-bench"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
# No brake but the machine: what limits cost is measured, what they refuse is not.
UNLIMITED = {f"RATE_LIMIT_{role}": "1000000/sec" for role in ("USER", "SUBSCRIBER", "ADMIN")}


@dataclass
class System:
    """A server on a port, with the root processes whose trees are counted, by part."""

    name: str
    port: int
    keys: list[str]
    parts: dict[str, int]

    def cpu(self) -> dict[str, float]:
        """Seconds used by each part so far, in user and kernel mode."""
        return {part: sum(used(pid) for pid in tree(root)) for part, root in self.parts.items()}

    def memory(self) -> float:
        """MiB of the largest worker: its own share, with shared pages counted in part (PSS)."""
        return max(pss(pid) for pid in tree(self.parts["server"]))

    def whole_memory(self) -> float:
        """MiB of all processes of the server, counted in the same way."""
        return sum(pss(pid) for pid in tree(self.parts["server"]))


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(found for child in children for found in tree(int(child)))]


def used(pid: int) -> float:
    """User and system time, with that of children that have ended (proc(5), fields 14 to 17)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(value) for value in fields[11:15]) / TICKS


def pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


@contextmanager
def started(command: list[str], log: Path, environment: dict[str, str] | None = None) -> Iterator[int]:
    """A process that ends with us; answers its ID."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=output,
            stderr=output,
            preexec_fn=partial(end_with_parent, SIGTERM),
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_for(url: str, log: Path, *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=5).status_code < 500:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer:\n{log.read_text(errors='replace')[-3000:]}")


@contextmanager
def upstream(directory: Path) -> Iterator[System]:
    port, log = free_port(), directory / "upstream.log"
    with started([sys.executable, "-m", "tests.benchmarks.upstream", str(port)], log) as pid:
        wait_for(f"http://127.0.0.1:{port}/", log)
        yield System("upstream, asked directly", port, ["none"], {"server": pid})


@contextmanager
def hello(directory: Path) -> Iterator[System]:
    """The raw ASGI application under gunicorn, with uvicorn's worker and the event loop of ours."""
    port, log = free_port(), directory / "hello.log"
    command = [
        sys.executable, "-m", "gunicorn", "tests.benchmarks.hello:application", "-c", "/dev/null",
        "-b", f"127.0.0.1:{port}", "-w", str(WORKERS), "-k", "uvicorn_worker.UvicornWorker",
        "--backlog", "2048", "--log-level", "warning", "--keep-alive", "65",
    ]  # fmt: skip
    with started(command, log) as pid:
        wait_for(f"http://127.0.0.1:{port}/", log)
        yield System("raw ASGI hello", port, ["none"], {"server": pid})


@contextmanager
def floor(directory: Path, provider: System, database: Server) -> Iterator[System]:
    """The bare program of `floor.py` on PostgreSQL, under gunicorn, with uvicorn's worker and the event loop of ours."""
    port, log = free_port(), directory / "floor.log"
    environment = {
        "FLOOR_UPSTREAM": f"http://127.0.0.1:{provider.port}/v1/chat/completions",
        "FLOOR_DATABASE": database.url,
    }
    command = [
        sys.executable, "-m", "gunicorn", "tests.benchmarks.floor:application", "-c", "/dev/null",
        "-b", f"127.0.0.1:{port}", "-w", str(WORKERS), "-k", "uvicorn_worker.UvicornWorker",
        "--backlog", "2048", "--log-level", "warning", "--keep-alive", "65",
    ]  # fmt: skip
    with ExitStack() as stack:
        stack.callback(database.close)
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(FLOOR_SCHEMA)
        pid = stack.enter_context(started(command, log, environment))
        wait_for(f"http://127.0.0.1:{port}/", log)
        assert database.process
        yield System(
            "floor",
            port,
            [f"key-{number}" for number in range(PEOPLE)],
            {"server": pid, "PostgreSQL": database.process.pid},
        )


@contextmanager
def ours(
    directory: Path, provider: System, database: Server | None, application: str = "aichat.asgi:application"
) -> Iterator[System]:
    """Our server as deployed: with logs, rate limits, ledger and usage records. With a database server also with Valkey."""
    engine = type(database).__name__ if database else "SQLite"
    engine = {"Postgres": "PostgreSQL"}.get(engine, engine)
    home = directory / engine
    home.mkdir()
    options = {
        **UNLIMITED,
        "OPENAI_API_KEY": "bench",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{provider.port}/v1",
        "STREAMS_PER_USER": "10000",
        "LOG_LEVEL": "INFO",
        "SECRET_KEY": "benchmark-" * 6,
    }
    with ExitStack() as stack:
        name, parts = f"ours, {engine}", {}
        if database:
            stack.callback(database.close)
            cache = Valkey()
            stack.callback(cache.close)
            assert database.process and cache.process
            name += " + Valkey"
            parts = {engine: database.process.pid, "Valkey": cache.process.pid}
            options["REDIS_URL"] = cache.url
        service = Service(home, database, WORKERS, options, application)
        stack.callback(service.close)
        service.wait_until_ready()
        seeded = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.seed", str(PEOPLE), *MODELS],
            cwd=ROOT, env=service.environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert seeded.returncode == 0, seeded.stderr
        time.sleep(3)  # until every worker has read the catalog again
        keys: list[str] = orjson.loads(seeded.stdout.splitlines()[-1])
        port = int(service.address.rpartition(":")[2])
        yield System(name, port, keys, {"server": service.process.pid, **parts})


def litellm_environment(directory: Path) -> Path:
    """Its own virtual environment, made once."""
    if not (directory / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        pip = [str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "--no-input", "--only-binary", ":all:", LITELLM], check=True)
    return directory


@contextmanager
def litellm(directory: Path, provider: System, environment: Path) -> Iterator[System]:
    """LiteLLM's proxy, as its production guide has it: two workers, errors alone logged, a master key, no database."""
    port, log, config = free_port(), directory / "litellm.log", directory / "litellm.yaml"
    models = "".join(
        f"  - model_name: {name}\n    litellm_params:\n      model: openai/{name}\n"
        f"      api_base: http://127.0.0.1:{provider.port}/v1\n      api_key: bench\n"
        for name in MODELS
    )
    config.write_text(
        f"model_list:\n{models}"
        "litellm_settings:\n  num_retries: 0\n  request_timeout: 600\n  json_logs: true\n  set_verbose: false\n"
        f"general_settings:\n  master_key: {MASTER_KEY}\n  disable_error_logs: true\n"
    )
    settings = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "AIOHTTP_CONNECTOR_LIMIT": "5000",
        "AIOHTTP_CONNECTOR_LIMIT_PER_HOST": "5000",
        "NO_DOCS": "True",
        "SEPARATE_HEALTH_APP": "0",
    }
    command = [
        str(environment / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port),
        "--num_workers", str(WORKERS),
    ]  # fmt: skip
    with started(command, log, settings) as pid:
        wait_for(f"http://127.0.0.1:{port}/health/liveliness", log)
        time.sleep(5)  # the second worker
        yield System("LiteLLM's proxy", port, [MASTER_KEY], {"server": pid})


def asked(provider: System) -> int:
    """How many chats the fake provider has been asked."""
    return int(httpx.get(f"http://127.0.0.1:{provider.port}/", timeout=30).text)
