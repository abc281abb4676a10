"""The test bed: three hosts of the application on addresses of their own, two of them with an image worker, on this machine.

Each host is reached by the balancer of `deploy/haproxy`, and reaches the database and Valkey by a proxy of its own (its
"link"), so that one host can be cut off. A host's clock is set by libfaketime.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import redis

from tests.benchmarks.systems import UNLIMITED, tree
from tests.engines import Postgres, ReplicaSet, Valkey, end_with_parent, free_port
from tests.service import ROOT

DEPLOYED = ROOT / "deploy" / "haproxy"
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
START_SECONDS = 60.0
LEASE = 8  # seconds of an image job; of an Idempotency-Key 10
# Short where a promise is "after this time", so that it is tried within the run.
SHORT = {
    "CHAT_ATTEMPT_TIMEOUT": "40",
    "CHAT_FIRST_TOKEN_TIMEOUT": "40",
    "CHAT_IDLE_TIMEOUT": "40",
    "CHAT_TOTAL_TIMEOUT": "60",
    "IMAGE_ATTEMPT_TIMEOUT": "40",
    "IMAGE_TOTAL_TIMEOUT": "60",
    "IMAGE_LEASE_SECONDS": str(LEASE),
    "IMAGE_POLL_SECONDS": "0.5",
    "IMAGE_ATTEMPTS": "10",
    "IDEMPOTENCY_LEASE": "10",
    "HOLD_TTL": "90",
    "EXPIRE_HOLDS_INTERVAL": "2",
    "DATABASE_TIMEOUT": "6",
    "IMAGE_WORKER_CONCURRENCY": "0",
    "WEB_CONCURRENCY": "1",
    "LOG_LEVEL": "WARNING",
}


def missing() -> list[str]:
    """The Debian packages that have to be installed before the test bed can be made."""
    found = {"haproxy": shutil.which("haproxy", path=PATH), "faketime": FAKETIME.exists()}
    return [package for package, is_there in found.items() if not is_there]


PATH = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"


class Program:
    """A process with its descendants: started, stopped, killed, frozen."""

    def __init__(self, words: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.words, self.log, self.environment = words, log, environment or {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.words,
                cwd=ROOT,
                env={**os.environ, "PATH": PATH, **self.environment},
                stdout=output,
                stderr=output,
                preexec_fn=partial(end_with_parent, signal.SIGTERM),
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            for pid in tree(self.process.pid):
                os.kill(pid, number)

    def stop(self, seconds: float = 75) -> None:
        """SIGTERM, and its end awaited; SIGKILL after `seconds`."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Proxy(Program):
    """HAProxy with a configuration, and its admin socket."""

    def __init__(self, directory: Path, name: str, configuration: str) -> None:
        self.admin = directory / f"{name}.sock"
        file = directory / f"{name}.cfg"
        lines = [
            f"    stats socket {self.admin} mode 600 level admin" if "stats socket" in line else line
            for line in configuration.splitlines()
        ]
        file.write_text("\n".join([*lines, ""]))
        super().__init__(["haproxy", "-db", "-f", str(file)], directory / f"{name}.log")

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.admin))
            line.sendall(command.encode() + b"\n")
            return line.makefile().read()


class Replica(Valkey):
    """A Valkey that follows another one until it is promoted."""

    def __init__(self, primary: Valkey) -> None:
        self.primary = primary
        super().__init__()

    def command(self) -> list[str]:
        return [*super().command(), "--replicaof", "127.0.0.1", str(self.primary.port)]


class Host:
    """A machine of the cluster: a server, perhaps an image worker, a link, and a clock that may be off."""

    def __init__(self, bed: "Bed", number: int, *, draws: bool) -> None:
        self.bed, self.number, self.ip = bed, number, f"127.0.1.{number}"
        self.port, self.database_port, self.valkey_port = free_port(), free_port(), free_port()
        self.address = f"http://{self.ip}:{self.port}"
        self.clock_off = 0  # seconds
        self.link = Proxy(bed.directory, f"link{number}", self.links())
        log, python = bed.directory / f"host{number}.log", sys.executable
        self.programs = [Program([python, "-m", "gunicorn", "aichat.asgi:application"], log)]
        if draws:
            words = [python, "manage.py", "run_image_worker", "--concurrency", "2"]
            self.programs.append(Program(words, bed.directory / f"worker{number}.log"))

    def links(self) -> str:
        one, two = self.bed.valkeys
        found = (DEPLOYED / "valkey.cfg").read_text()
        for theirs, ours in (
            ("127.0.0.1:6379", f"{self.ip}:{self.valkey_port}"),
            ("10.0.0.21:6379", f"127.0.0.1:{one.port}"),
            ("10.0.0.22:6379", f"127.0.0.1:{two.port}"),
        ):
            assert theirs in found
            found = found.replace(theirs, ours)
        if isinstance(self.bed.database, Postgres):
            found += f"listen database\n    bind {self.ip}:{self.database_port}\n"
            found += f"    server database 127.0.0.1:{self.bed.database.port}\n"
        return found

    @property
    def environment(self) -> dict[str, str]:
        url = self.bed.database.url
        if isinstance(self.bed.database, Postgres):
            url = url.replace(f"127.0.0.1:{self.bed.database.port}", f"{self.ip}:{self.database_port}")
        found = {
            **self.bed.settings,
            "DATABASE_URL": url,
            "REDIS_URL": f"redis://{self.ip}:{self.valkey_port}/0",
            "SETTLEMENT_JOURNAL": str(self.bed.directory / f"journal{self.number}"),
            "HOST": self.ip,
            "PORT": str(self.port),
        }
        if self.clock_off:
            found |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"{self.clock_off:+d}s"}
        return found

    def start(self) -> None:
        for program in self.programs:
            program.environment = self.environment
            program.start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.address}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise RuntimeError(self.programs[0].log.read_text(errors="replace")[-3000:])

    def stop(self) -> None:
        for program in self.programs:
            program.stop()

    def replace(self) -> None:
        """What an update does to a host: out of the balancer, stopped, started, in again."""
        self.bed.balancer.ask(f"set server hosts/{self.name} state maint")
        self.stop()
        self.start()
        self.bed.balancer.ask(f"set server hosts/{self.name} state ready")

    @property
    def name(self) -> str:
        return ("one", "two", "three")[self.number - 1]

    def signal(self, number: signal.Signals) -> None:
        for program in (*self.programs, self.link):
            program.signal(number)


class Bed:
    """All of it. `close` ends every process that was started."""

    def __init__(self, directory: Path, engine: str, chats_url: str, pictures_url: str) -> None:
        self.directory = directory
        self.database: Any = ReplicaSet() if engine == "mongodb" else Postgres()
        primary = Valkey()
        self.valkeys: list[Valkey] = [primary, Replica(primary)]
        self.settings = {
            **SHORT,
            **UNLIMITED,
            "DJANGO_SETTINGS_MODULE": "aichat.settings",
            "ALLOWED_HOSTS": "127.0.0.1,127.0.1.1,127.0.1.2,127.0.1.3",
            "SECRET_KEY": "of-the-test-bed-alone-and-long-enough-for-it",
            "MEDIA_ROOT": str(directory / "pictures"),
            "OPENAI_API_KEY": "test-key",
            "OPENAI_BASE_URL": f"{chats_url}/v1",
            "GEMINI_API_KEY": "test-key",
            "GEMINI_BASE_URL": pictures_url,
        }
        self.hosts = [Host(self, number, draws=number < 3) for number in (1, 2, 3)]
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        text = (DEPLOYED / "balancer.cfg").read_text().replace("bind :443", f"bind 127.0.0.1:{self.port}")
        for host in self.hosts:
            assert f"10.0.0.1{host.number}:8000" in text
            text = text.replace(f"10.0.0.1{host.number}:8000", f"{host.ip}:{host.port}")
        self.balancer = Proxy(directory, "balancer", text)

    def run(self, *words: str) -> str:
        """A command of Python with the settings of a host and a direct way to the database; its output."""
        environment = {**os.environ, **self.settings, "DATABASE_URL": self.database.url}
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
        return done.stdout

    def start(self) -> None:
        for host in self.hosts:
            host.link.start()
        for host in self.hosts:
            host.start()
        self.balancer.start()
        deadline = time.monotonic() + 20
        while self.up() != ["one", "three", "two"]:
            if time.monotonic() > deadline:
                raise RuntimeError(self.balancer.log.read_text()[-2000:])
            time.sleep(0.2)

    def up(self) -> list[str]:
        """The hosts that the balancer sends requests to."""
        try:
            rows = [line.split(",") for line in self.balancer.ask("show stat").splitlines()]
        except OSError:
            return []
        return sorted(row[1] for row in rows if row[0] == "hosts" and row[1] != "BACKEND" and row[17] == "UP")

    def promote(self, valkey: Valkey) -> None:
        with redis.Redis.from_url(valkey.url) as client:
            client.replicaof("NO", "ONE")

    def close(self) -> None:
        for host in self.hosts:
            host.signal(signal.SIGCONT)
        for program in [*(program for host in self.hosts for program in host.programs)]:
            program.stop(20)
        for program in [self.balancer, *(host.link for host in self.hosts)]:
            program.kill()
        for server in [self.database, *self.valkeys]:
            server.close()
