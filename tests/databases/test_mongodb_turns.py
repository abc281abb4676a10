"""Transactions on MongoDB run side by side until one conflicts; then those of a host run one after the other."""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo.errors import OperationFailure

from aichat.core.database.mongodb import turns

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The file of the turns, of this test alone and with its last conflict a minute ago."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(turns, "_in_vain", float("-inf"))
    turns._forget()
    found = turns._file()
    assert found is not None
    os.utime(found, times=(0, time.time() - 60))
    yield found
    turns._forget()


def conflict() -> None:
    with pytest.raises(OperationFailure), turns.atomic():
        raise OperationFailure("a write conflict", 112, {"errorLabels": ["TransientTransactionError"]})


def seconds_of_another_thread() -> float:
    """How long another thread waits for its transaction."""
    took: list[float] = []

    def work() -> None:
        began = time.monotonic()
        with turns.atomic():
            took.append(time.monotonic() - began)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return took[0]


def test_transactions_run_side_by_side_while_none_conflicts() -> None:
    with turns.atomic():
        assert seconds_of_another_thread() < turns.LONGEST_WAIT


def test_after_a_conflict_a_transaction_waits_for_the_other_one_but_not_for_long() -> None:
    conflict()
    with turns.atomic():
        assert turns.LONGEST_WAIT <= seconds_of_another_thread() < 10 * turns.LONGEST_WAIT
    assert seconds_of_another_thread() < turns.LONGEST_WAIT


def test_whoever_holds_the_lock_for_long_holds_up_one_transaction_and_not_each() -> None:
    conflict()
    with turns.atomic():
        assert seconds_of_another_thread() >= turns.LONGEST_WAIT
        assert seconds_of_another_thread() < turns.LONGEST_WAIT


def test_peace_comes_back_after_a_second_without_a_conflict(file: int) -> None:
    conflict()
    os.utime(file, times=(0, time.time() - turns.PEACE - 0.1))
    with turns.atomic():
        assert seconds_of_another_thread() < turns.LONGEST_WAIT


def test_an_error_of_another_kind_is_no_conflict() -> None:
    with pytest.raises(RuntimeError), turns.atomic():
        raise RuntimeError
    with turns.atomic():
        assert seconds_of_another_thread() < turns.LONGEST_WAIT


def test_without_a_file_transactions_take_no_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "is-not-there"))
    turns._forget()
    with turns.atomic():
        assert turns._file() is None
