"""How `gunicorn aichat.asgi:application` serves. HOST, PORT and WEB_CONCURRENCY are settings like all others."""

import ctypes
import gc
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aichat.settings")
# Each worker counts into files here, and whichever is asked for /metrics adds them up. Before anything of ours is imported.
metrics_directory = os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="aichat-metrics-"))

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

try:
    logconfig_dict = settings.LOGGING
except ImproperlyConfigured as error:
    sys.exit(f"Configuration error: {error}")

host, port = settings.HOST, settings.PORT
bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
worker_class = "aichat.core.web.server.ServerWorker"
workers = settings.WEB_CONCURRENCY or 2
umask = 0o077  # files are their owner's alone
preload_app = True  # one import for all workers
control_socket_disable = True
backlog = 4096  # connections that may wait while a burst of streams is being opened
keepalive = 65
timeout = 60  # a worker whose event loop is stuck for so long is replaced; waiting for a provider does not count
graceful_timeout = 60  # how long Ctrl-C waits for running requests; what is cut then is healed by expiring holds

MOST_FILES = 65_536  # a stream takes two: its client's connection and its provider's
NEW_OBJECTS = 10_000  # that have come and not gone, before the garbage collector looks at them; Python's own is 700
UNSENT = 128 * 1024  # bytes the kernel takes for a client beyond what is on its way


def refuse_taken_port() -> None:
    """One clear line for a port that is taken, before gunicorn says a word and tries it five times.

    Not where gunicorn already has its socket: after SIGHUP and SIGUSR2, which read this file again, or from systemd.
    """
    is_running = os.environ.get("AICHAT_MASTER") == str(os.getpid()) or "GUNICORN_FD" in os.environ
    os.environ["AICHAT_MASTER"] = str(os.getpid())
    if is_running or "LISTEN_FDS" in os.environ or "--check-config" in sys.argv:
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            sys.exit(f"Can't listen on {bind} ({error.strerror}): choose another port, as in PORT={port + 1} make run")


refuse_taken_port()


def on_starting(server: Any) -> None:
    """Room for thousands of streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def when_ready(server: Any) -> None:
    """SIGINT drains like SIGTERM: gunicorn's own way is a SIGQUIT, which uvicorn's workers do not hear. A second hurries."""

    def drain(*_: Any) -> None:
        signal.signal(signal.SIGINT, server.signal)
        server.signal(signal.SIGTERM, None)

    signal.signal(signal.SIGINT, drain)
    for listener in server.LISTENERS:
        limit_slow_readers(listener.sock)
    spare_what_stays()


def spare_what_stays() -> None:
    """What was imported is no garbage: no worker's collector looks at it again, nor copies its pages by looking.

    What a request makes goes nearly all without the collector, which otherwise stops a worker with a thousand open
    streams a few hundred times for nothing: it comes less often. Together that is a sixth of a chat's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 20, 20)


def limit_slow_readers(listener: socket.socket) -> None:
    """Let no client that stops reading hold memory or its provider: what is accepted inherits these options of TCP.

    The kernel takes little that is unsent, so the server waits with the client, and through the feed's bound so does the
    provider; a client that takes nothing for STALLED_READER_TIMEOUT is disconnected, and pays for what was delivered.
    """
    for name, value in (
        ("TCP_NOTSENT_LOWAT", UNSENT),
        ("TCP_USER_TIMEOUT", int(1000 * settings.STALLED_READER_TIMEOUT)),  # Linux alone has it
    ):
        if option := getattr(socket, name, None):
            listener.setsockopt(socket.IPPROTO_TCP, option, value)


def post_fork(server: Any, worker: Any) -> None:
    """On Linux a worker ends with its master even when that is killed, instead of keeping the port without one."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def child_exit(server: Any, worker: Any) -> None:
    from aichat.core.telemetry import prometheus

    prometheus.bury(worker.pid)


def on_exit(server: Any) -> None:
    shutil.rmtree(metrics_directory, ignore_errors=True)
