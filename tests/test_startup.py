"""Settings: what is read is documented with its default, and a wrong value names the variable and the mend."""

import re
import runpy
from decimal import Decimal
from pathlib import Path
from typing import Any

import environ
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from aichat.core.config import env, stores

ROOT = Path(settings.BASE_DIR)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Every environment variable `settings.py` reads, with its default as one would write it."""
    found = {"SECRET_KEY": ""}

    def record(name: str, default: Any, *parsing: Any) -> Any:
        found[name] = written(default)
        return default

    monkeypatch.setattr(env, "_read", record)
    monkeypatch.setattr(stores, "secret_key", lambda keep_in: "for tests")
    monkeypatch.setattr(environ.Env, "read_env", lambda path: None)
    runpy.run_path(str(ROOT / "aichat" / "settings.py"))
    return found


def written(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, list | tuple):
        return ",".join(map(str, default))
    if not default and not isinstance(default, int | float | Decimal):
        return ""
    return str(default).removeprefix(f"{ROOT}/").removesuffix(".0")


def test_the_example_file_has_every_setting_with_its_default(read: dict[str, str]) -> None:
    example = (ROOT / ".env.example").read_text()
    assert dict(re.findall(r"^#([A-Z_]+)=(.*)$", example, re.MULTILINE)) == read


def test_the_page_of_settings_has_every_setting_with_its_default(read: dict[str, str]) -> None:
    page = (ROOT / "docs" / "deployment" / "settings.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)`)? *\| .+ \|$", page, re.MULTILINE)
    assert dict(rows) == read


@pytest.mark.parametrize(
    ("reader", "value", "mend"),
    [
        (lambda: env.seconds("X", 900), "abc", "a number of seconds above 0, such as 900"),
        (lambda: env.seconds("X", 900), "-1", "a number of seconds above 0"),
        (lambda: env.seconds("X", 900), "inf", "a number of seconds above 0"),
        (lambda: env.boolean("X", True), "perhaps", "true or false"),
        (lambda: env.whole("X", 8000, minimum=1, maximum=65535), "65536", "a whole number from 1 to 65535"),
        (lambda: env.decimal("X", "1"), "NaN", "a number from 0"),
        (lambda: env.rate("X", "10/min"), "ten a minute", "N/sec, N/min, N/hour or N/day"),
        (lambda: env.choice("X", "json", ("json", "console")), "xml", "one of json, console"),
        (lambda: env.url("X"), "example.com", "an address starting with http:// or https://"),
        (lambda: env.path_prefix("X"), "ai", "a path that begins with a slash, such as /ai"),
        (lambda: env.path_prefix("X"), "/ai//b", "a path that begins with a slash, such as /ai"),
        (lambda: env.path_prefix("X"), "https://x.example/ai", "a path that begins with a slash, such as /ai"),
        (lambda: env.origins("X"), "https://a.example/path", "write an origin, such as"),
        (lambda: stores.database("X", "", base_dir=ROOT, timeout=1, threads=1), "foo", "write sqlite:///path"),
    ],
)
def test_a_wrong_value_names_the_variable_and_the_mend(
    reader: Any, value: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("X", value)
    with pytest.raises(ImproperlyConfigured) as caught:
        reader()
    assert str(caught.value).startswith("X") and mend in str(caught.value)


def test_an_empty_value_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "  ")
    assert env.seconds("X", 900) == 900
