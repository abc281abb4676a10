"""How `gunicorn aichat.asgi:application` serves. PORT, HOST and WEB_CONCURRENCY come from the environment."""

import os
import socket
import sys
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aichat.settings")

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from aichat import env

try:
    logconfig_dict = settings.LOGGING
    host, port = env.text("HOST", "127.0.0.1"), env.whole("PORT", 8000, minimum=1)
except ImproperlyConfigured as error:
    sys.exit(f"Configuration error: {error}")

bind = f"{host}:{port}"
worker_class = "uvicorn_worker.UvicornWorker"
workers = settings.WEB_CONCURRENCY or 2
preload_app = True  # one import for all workers
control_socket_disable = True
backlog = 2048
keepalive = 65
timeout = 60  # a worker whose event loop is stuck for so long is replaced; waiting for a provider does not count
graceful_timeout = 60  # how long Ctrl-C waits for running requests; what is cut then is healed by expiring holds


def on_starting(server: Any) -> None:
    """One clear line for a port that is taken, before gunicorn tries it five times."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            sys.exit(f"Can't listen on {bind} ({reason}): choose another port, as in PORT=8001 make run")
