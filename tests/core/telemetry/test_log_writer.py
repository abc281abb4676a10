"""Log lines are written beside the event loop, in order, and none is lost at the end."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO

import pytest

from aichat.core.telemetry.log_writer import LogWriter
from tests.logs import wait_for


class Pipe(StringIO):
    """A stream whose reader may have stopped reading."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read = threading.Event()
        self.writes = 0

    def write(self, text: str) -> int:
        self.is_read.wait(10)
        self.writes += 1
        return super().write(text)


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


@pytest.fixture
def log(pipe: Pipe) -> Iterator[logging.Logger]:
    logger, writer = logging.Logger("of this test"), LogWriter()
    writer.setStream(pipe)
    logger.addHandler(writer)
    yield logger
    pipe.is_read.set()
    writer.close()


async def test_a_pipe_that_nobody_reads_holds_up_no_request(log: logging.Logger, pipe: Pipe) -> None:
    for number in range(100):
        log.info("line %d", number)
    assert pipe.writes == 0
    pipe.is_read.set()
    assert wait_for(pipe.getvalue).splitlines() == [f"line {number}" for number in range(100)]
    assert pipe.writes <= 2


async def test_a_warning_is_written_at_once_behind_what_came_before(log: logging.Logger, pipe: Pipe) -> None:
    pipe.is_read.set()
    log.info("first")
    log.warning("second")
    assert pipe.getvalue() == "first\nsecond\n"


def test_a_command_writes_its_lines_at_once(log: logging.Logger, pipe: Pipe) -> None:
    pipe.is_read.set()
    log.info("line")
    assert pipe.getvalue() == "line\n"


def test_a_process_that_ends_has_written_all_its_lines() -> None:
    program = """
import asyncio, logging
from aichat.core.telemetry.log_writer import LogWriter
logging.basicConfig(level="INFO", handlers=[LogWriter()], format="%(message)s")
async def main():
    for number in range(3):
        logging.info(number)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.stderr.split() == ["0", "1", "2"]
