"""Settings from the environment: what is read, and the one clear line for what is wrong."""

import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from psycopg_pool import ConnectionPool, PoolTimeout

from aichat.core import money
from aichat.core.config import checks, env, stores
from tests.engines import free_port


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda value: monkeypatch.setenv("X", value)


@pytest.mark.parametrize(
    ("read", "raw", "expected"),
    [
        (lambda: env.boolean("X", False), "YES", True),
        (lambda: env.boolean("X", True), "off", False),
        (lambda: env.boolean("X", True), " ", True),
        (lambda: env.whole("X", 5, minimum=1), "7", 7),
        (lambda: env.whole("X", 5), "", 5),
        (lambda: env.seconds("X", 5), "0.5", 0.5),
        (lambda: env.decimal("X", "1"), "0", Decimal(0)),
        (lambda: env.decimal("X", "1", places=6), "0.000001", Decimal("0.000001")),
        (lambda: env.rate("X", "1/min"), "5/hour", "5/hour"),
        (lambda: env.choice("X", "a", ("a", "B")), "b", "B"),
        (lambda: env.words("X", "a,b"), " c , ,d ", ["c", "d"]),
        (lambda: env.url("X", ""), "http://host:1/v1/", "http://host:1/v1"),
        (
            lambda: env.origins("X"),
            "https://a.example.com/, http://localhost:3000",
            ["https://a.example.com", "http://localhost:3000"],
        ),
        (lambda: env.text("X", "d"), "  t  ", "t"),
        (lambda: env.path_prefix("X"), "/tools/ai/", "/tools/ai"),
        (lambda: env.path_prefix("X"), "/", ""),
    ],
)
def test_a_right_value_is_read(given: Any, read: Any, raw: str, expected: object) -> None:
    given(raw)
    assert read() == expected


@pytest.mark.parametrize(
    ("read", "raw"),
    [
        (lambda: env.boolean("X", False), "maybe"),
        (lambda: env.whole("X", 5, minimum=1), "0"),
        (lambda: env.whole("X", 5), "-1"),
        (lambda: env.whole("X", 5), "1.5"),
        (lambda: env.seconds("X", 5), "0"),
        (lambda: env.seconds("X", 5), "-1"),
        (lambda: env.seconds("X", 5), "nan"),
        (lambda: env.seconds("X", 5), "inf"),
        (lambda: env.seconds("X", 5), "soon"),
        (lambda: env.decimal("X", "1"), "-1"),
        (lambda: env.decimal("X", "1"), "NaN"),
        (lambda: env.decimal("X", "1"), "Infinity"),
        (lambda: env.decimal("X", "1"), "1e999999"),
        (lambda: env.decimal("X", "1"), "a lot"),
        (lambda: env.decimal("X", "1", places=6), "0.0000001"),
        (lambda: env.rate("X", "1/min"), "0/min"),
        (lambda: env.rate("X", "1/min"), "5/minute"),
        (lambda: env.rate("X", "1/min"), "5"),
        (lambda: env.choice("X", "a", ("a", "b")), "c"),
        (lambda: env.url("X", ""), "host:1"),
        (lambda: env.url("X", ""), "ftp://host"),
        (lambda: env.origins("X"), "app.example.com"),
        (lambda: env.origins("X"), "https://app.example.com/path"),
        (lambda: env.origins("X"), "*"),
    ],
)
def test_a_wrong_value_names_the_variable_and_the_mend(given: Any, read: Any, raw: str) -> None:
    given(raw)
    with pytest.raises(ImproperlyConfigured) as caught:
        read()
    line = str(caught.value)
    assert line.startswith("X") and raw in line and "write " in line and "\n" not in line


@pytest.mark.parametrize(
    "raw",
    [
        "nonsense",
        "mysql://h/n",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////dev/null/db",
        "postgres://u:hunter2@[h",
        "postgres://u:hunter2/x@h/n",
    ],
)
def test_a_wrong_database_address_is_one_line_without_its_password(given: Any, raw: str, tmp_path: Path) -> None:
    given(raw)
    with pytest.raises(ImproperlyConfigured) as caught:
        stores.database("X", "", base_dir=tmp_path, timeout=5, threads=1)
    assert "\n" not in str(caught.value) and "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("query", "uses"), [("", 5), ("?prepare_threshold=1", 1), ("?prepare_threshold=none", None)])
def test_postgresql_keeps_plans_unless_told_otherwise(given: Any, query: str, uses: int | None, tmp_path: Path) -> None:
    given(f"postgres://u:p@h/n{query}")
    options: Any = stores.database("X", "", base_dir=tmp_path, timeout=5, threads=1)["OPTIONS"]
    assert options["prepare_threshold"] == uses


def test_a_secret_key_is_made_once_and_readable_by_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "")
    keep_in = tmp_path / "var" / "secret_key"
    made = stores.secret_key(keep_in)
    assert len(made) >= 50 and stores.secret_key(keep_in) == made
    assert keep_in.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in keep_in.parent.iterdir()] == ["secret_key"]
    monkeypatch.setenv("SECRET_KEY", "given")
    assert stores.secret_key(keep_in) == "given"


@pytest.mark.parametrize("key", ["x", "changeme" * 3, "x" * 64, "django-insecure-" + "abcdefghij" * 5])
def test_a_secret_key_that_can_be_guessed_stops_the_start_and_is_not_quoted(settings: Any, key: str) -> None:
    settings.DEBUG, settings.SECRET_KEY = False, key
    with pytest.raises(SystemExit) as caught:
        checks.stop_on_errors()
    assert str(caught.value.code).startswith("Configuration error: SECRET_KEY can be guessed")
    assert len(key) == 1 or key not in str(caught.value.code)


@pytest.mark.parametrize(
    ("host", "https", "warned"),
    [("127.0.0.1", False, False), ("0.0.0.0", False, True), ("::", False, True), ("127.0.0.1", True, True)],
)
def test_debug_and_any_host_are_warned_of_where_others_can_call(
    settings: Any, host: str, https: bool, warned: bool
) -> None:
    settings.HOST, settings.HTTPS, settings.DEBUG, settings.ALLOWED_HOSTS = host, https, True, ["*"]
    found = [warning.id for warning in checks.nothing_is_open_on_a_public_server()]
    assert found == (["aichat.W030", "aichat.W031"] if warned else [])
    settings.DEBUG, settings.ALLOWED_HOSTS = False, ["chat.example.com"]
    assert checks.nothing_is_open_on_a_public_server() == []


def test_a_database_file_and_its_folder_are_their_owners_alone(given: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    file = folder / "db.sqlite3"
    for _ in range(2):
        given(f"sqlite:///{file}")
        stores.database("X", "", base_dir=tmp_path, timeout=5, threads=1)
        assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
        file.chmod(0o644)  # as an older version made it


def test_stored_pictures_are_their_owners_alone(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    name = default_storage.save("images/one/a.png", ContentFile(b"png"))
    assert (tmp_path / "media" / name).stat().st_mode & 0o777 == 0o600
    assert {part.stat().st_mode & 0o777 for part in (tmp_path / "media").rglob("*") if part.is_dir()} == {0o700}


def test_compose_brings_no_password_of_its_own() -> None:
    lines = (Path(__file__).parents[3] / "compose.yaml").read_text().splitlines()
    secrets = [line for line in lines if re.search("password|secret|_key", line.partition("#")[0].lower())]
    assert secrets and all("${POSTGRES_PASSWORD:?" in line for line in secrets)


def test_a_hold_must_outlive_its_request(settings: Any) -> None:
    assert checks.holds_outlive_requests() == []
    settings.HOLD_TTL = settings.CHAT_TOTAL_TIMEOUT
    assert [problem.id for problem in checks.holds_outlive_requests()] == ["aichat.E001"]


def test_the_total_must_cover_an_attempt(settings: Any) -> None:
    assert checks.total_timeout_covers_an_attempt() == []
    settings.CHAT_IDLE_TIMEOUT = settings.CHAT_TOTAL_TIMEOUT + 1
    problem = checks.total_timeout_covers_an_attempt()[0]
    assert problem.id == "aichat.E002" and problem.hint


def test_a_wrong_combination_stops_the_start(settings: Any) -> None:

    checks.stop_on_errors()
    settings.HOLD_TTL = 1
    with pytest.raises(SystemExit) as caught:
        checks.stop_on_errors()
    assert str(caught.value.code).startswith("Configuration error: HOLD_TTL")


# --- Amounts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credits", "micro"),
    [
        ("1", 1_000_000),
        (1, 1_000_000),
        ("12.5", 12_500_000),
        ("0.000001", 1),
        ("-3", -3_000_000),
        ("1e3", 10**9),
        ("5.0000000", 5_000_000),
    ],
)
def test_credits_are_microcredits(credits: str | int, micro: int) -> None:
    assert money.to_microcredits(credits) == micro


@pytest.mark.parametrize(
    "credits",
    [
        "",
        "x",
        "NaN",
        "inf",
        "-inf",
        "1e999999",
        "1e-999999",
        "0.0000001",
        "1." + "0" * 40 + "1",
        "1000000000001",
        "1,5",
    ],
)
def test_an_amount_that_is_not_exact_is_refused(credits: str) -> None:
    with pytest.raises(ValueError, match=r"number|decimal places|too large"):
        money.to_microcredits(credits)


@pytest.mark.parametrize(
    ("micro", "text"),
    [(0, "0"), (1, "0.000001"), (100_000_000, "100"), (12_500_000, "12.5"), (-1, "-0.000001"), (-10_000_000, "-10")],
)
def test_microcredits_are_written_without_trailing_zeros(micro: int, text: str) -> None:
    assert money.format_credits(micro) == text


def test_who_waits_for_a_connection_is_refused_at_once_by_private_names_of_the_pool() -> None:
    nobody = {"host": "127.0.0.1", "port": free_port(), "connect_timeout": 2}
    with ConnectionPool(kwargs=nobody, min_size=1, open=True) as pool, ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(pool.getconn, timeout=20.0)
        began = monotonic()
        while not waiting.done() and monotonic() - began < 10:
            stores._refuse_waiting(pool)
            sleep(0.01)
        with pytest.raises(PoolTimeout):
            waiting.result()
    assert monotonic() - began < 10


def test_a_mongodb_address_may_list_several_hosts() -> None:
    address = "mongodb://ada:secret@h1:27017,h2:27018,h3:27019/aichat?replicaSet=rs0"
    entry = stores.database("NONE_SET", address, base_dir=Path("/"), timeout=5, threads=2)
    assert (entry["HOST"], entry["NAME"]) == (address, "aichat")


@pytest.mark.parametrize("address", ["mongodb://h1:no,h2/aichat", "mongodb://a:b@c@h1/aichat", "mongodb://,/aichat"])
def test_a_wrong_mongodb_address_is_refused_without_quoting_it(address: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="no address of MongoDB") as caught:
        stores.database("NONE_SET", address, base_dir=Path("/"), timeout=5, threads=2)
    assert "a:b" not in str(caught.value)
