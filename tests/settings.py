"""The product's settings, cut off from the machine: no `.env`, no keys, no providers, a database of its own."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests import engines

# Whatever keys the machine has are hidden, and the providers' addresses lead nowhere: no test can reach a paid one.
for name in (
    "OPENAI_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "REDIS_URL",
    "HTTPS",
    "DEBUG",
    "EMAIL_URL",
    "LOG_FORMAT",
):
    os.environ[name] = ""
DIRECTORY = Path(tempfile.mkdtemp(prefix="aichat-tests-"))
atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)
engine = os.environ.get("TEST_DATABASE_URL") or "sqlite"
IS_OF_THIS_RUN = engine == "sqlite" or engine in engines.DATABASES  # else somebody's own server, which stays as it was
if engine in engines.DATABASES:
    database_server = engines.DATABASES[engine]()
    atexit.register(database_server.close)
    os.environ["TEST_DATABASE_URL"] = database_server.url  # inherited by the workers, which share the server
os.environ["DATABASE_URL"] = (
    f"sqlite:///{DIRECTORY}/db.sqlite3" if engine == "sqlite" else os.environ["TEST_DATABASE_URL"]
)
os.environ["SECRET_KEY"] = "only for tests, and long enough for every check of Django's"
os.environ["OPENAI_BASE_URL"] = "http://127.0.0.1:9/v1"
os.environ["GEMINI_BASE_URL"] = "http://127.0.0.1:9"

from aichat.settings import *  # noqa: F403
from aichat.settings import DATABASES

EMAIL_URL = "smtp://127.0.0.1:9"  # mail is configured; pytest-django keeps what is sent (`mail.outbox`)
ANALYTICS_STORED = False  # a thread would write between the tests; those of it switch it on
REGISTRATION_OPEN = True  # whatever keys a test gives to providers
FILL_CATALOG = False  # tests say themselves which models there are
SETTLEMENT_JOURNAL = DIRECTORY / "journal"
PERIODIC_TASKS = False  # the server of the tests would work in between them
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # argon2 is slow on purpose
if DATABASES["default"]["ENGINE"] == "aichat.core.database.sqlite":
    # A file, not memory: the server's threads must see what the test wrote. Nobody pulls the plug on a test.
    DATABASES["default"]["TEST"] = {"NAME": DIRECTORY / f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.sqlite3"}
    DATABASES["default"]["OPTIONS"] = {
        **DATABASES["default"]["OPTIONS"],  # type: ignore[dict-item]
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
    }
# The server of the tests would work on the queue behind their backs.
IMAGE_WORKER_CONCURRENCY = 0
# Each test asks its provider itself, except where it is about the prompt cache.
PROMPT_CACHE_TTL = 0
