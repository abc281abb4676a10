"""Sends frequent statements to PostgreSQL by libpq's pipeline mode.

Each statement is prepared once for its connection, and several go out in one round trip, in order: after a statement that
fails, the following ones are not executed. psycopg's cursors wait for every answer, also for that of `BEGIN`: five statements
of a transaction took 110 µs of the client's CPU and 90 of the server's with cursors; here they take 20 and 40.

https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

import select
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

from psycopg import Connection, OperationalError
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

Rows: TypeAlias = list[tuple[Any, ...]]
Command: TypeAlias = Callable[[], None]

# The server takes a table that was never analyzed for a small one, which is best read as a whole. A plan is kept until the
# table is analyzed, so it must not be made on that assumption: this setting holds for the transaction in which it is made.
FOR_LARGE_TABLES = b"SET LOCAL enable_seqscan = off"


# The commit does not wait until the log is on disk; the next durable commit writes it too.
WITHOUT_WAITING_FOR_THE_DISK = b"SET LOCAL synchronous_commit = off"


def send(
    connection: "Connection[Any]", statements: Sequence[tuple[str, Sequence[Any]]], *, commit: bool = False
) -> list[Rows]:
    """Send texts (with `%s`) and their values; return the rows of each. Raises the first `psycopg.Error`.

    Outside of autocommit mode `BEGIN` is sent before the first text, as psycopg does. With `commit` a `COMMIT` is sent
    after the last text, and `connection.commit()` finds nothing to do.
    """
    line = _line_of(connection)
    return line.send(statements, line.begin(), [line.saying(b"COMMIT")] if commit else [])


def send_alone(
    connection: "Connection[Any]", statements: Sequence[tuple[str, Sequence[Any]]], *, durable: bool
) -> list[Rows]:
    """Send texts and their values as a whole transaction, on a connection in autocommit mode; return the rows of each.

    Unless `durable` the commit does not wait for the disk. Raises the first `psycopg.Error`, with nothing done.
    """
    line = _line_of(connection)
    begin = [line.saying(b"BEGIN"), *([] if durable else [line.saying(WITHOUT_WAITING_FOR_THE_DISK)])]
    try:
        return line.send(statements, begin, [line.saying(b"COMMIT")])
    finally:
        if line.libpq.transaction_status == TransactionStatus.INERROR:
            line.exchange([line.saying(b"ROLLBACK")])


def _line_of(connection: "Connection[Any]") -> "_Line":
    line: _Line | None = getattr(connection, "statements_line", None)
    if line is None:
        line = connection.statements_line = _Line(connection)  # type: ignore[attr-defined]
    return line


class _Line:
    """Sends statements on one connection, and knows which ones are prepared there."""

    def __init__(self, connection: "Connection[Any]") -> None:
        self.connection, self.libpq = connection, connection.pgconn
        self.keeps_plans = connection.prepare_threshold is not None  # a pooler may not have them kept
        self.names: dict[str, bytes] = {}
        self.made = 0  # names given; one whose preparation failed is not given again
        self.transformer = Transformer(connection)
        self.poll = select.poll()  # `select` itself knows no more than 1,024 descriptors
        self.poll.register(self.libpq.socket, select.POLLIN)

    def send(
        self, statements: Sequence[tuple[str, Sequence[Any]]], begin: Sequence[Command], end: Sequence[Command]
    ) -> list[Rows]:
        """Send `begin`, the statements and `end` in one round trip; return the rows of the statements."""
        # First of all: a value that PostgreSQL has no type for raises its error before anything is sent.
        dumped = [(text, self.dump(values)) for text, values in statements]
        if self.keeps_plans and (new := {text for text, _ in statements} - self.names.keys()):
            self.prepare(new, begin)
            begin = []
        results = self.exchange(
            [*begin, *(self.asking(text, values) for text, values in dumped), *end], commits=bool(end)
        )
        return [self.load(result) for result in results[len(begin) : len(results) - len(end)]]

    def dump(self, values: Sequence[Any]) -> Sequence[Any]:
        return self.transformer.dump_sequence(values, [PyFormat.TEXT] * len(values))

    def load(self, result: PGresult) -> Rows:
        if result.status != ExecStatus.TUPLES_OK:
            return []
        self.transformer.set_pgresult(result)
        return self.transformer.load_rows(0, result.ntuples, tuple)

    def prepare(self, texts: Iterable[str], begin: Sequence[Command]) -> None:
        """Send `begin` and prepare the texts, in one round trip and once for each connection."""
        names = {text: b"line_%d" % number for number, text in enumerate(texts, start=self.made)}
        self.made += len(names)
        preparing = [partial(self.libpq.send_prepare, name, _numbered(text)) for text, name in names.items()]
        self.exchange([*begin, self.saying(FOR_LARGE_TABLES), *preparing])
        self.names |= names

    def begin(self) -> list[Command]:
        is_begun = self.connection.autocommit or self.libpq.transaction_status != TransactionStatus.IDLE
        return [] if is_begun else [self.saying(b"BEGIN")]

    def saying(self, command: bytes) -> Command:
        return partial(self.libpq.send_query_params, command, None)

    def asking(self, text: str, values: Sequence[Any]) -> Command:
        if self.keeps_plans:
            return partial(self.libpq.send_query_prepared, self.names[text], values, result_format=Format.BINARY)
        return partial(self.libpq.send_query_params, _numbered(text), values, result_format=Format.BINARY)

    def exchange(self, commands: Sequence[Command], *, commits: bool = False) -> list[PGresult]:
        """Send all commands, and return one result for each.

        When the connection is lost and the last command `commits`, the error says so in its attribute `commit_was_sent`.
        """
        self.libpq.enter_pipeline_mode()
        try:
            for command in commands:
                command()
            self.libpq.pipeline_sync()
            self.flush()
            results = self.results()
            self.libpq.exit_pipeline_mode()
        except BaseException as lost:
            lost.commit_was_sent = commits  # type: ignore[attr-defined]
            self.libpq.finish()  # the next statement would take the outstanding results for its own
            raise
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                error = error_from_result(result, self.transformer.encoding)
                if isinstance(error, InvalidSqlStatementName):
                    self.names.clear()  # somebody had the session forget its plans: they are made again at the next try
                error.commit_was_sent = commits and result is results[-1]  # type: ignore[attr-defined]
                raise error
        return results

    def flush(self) -> None:
        """Send until nothing is left. Answers are read meanwhile: a server whose answers nobody takes stops reading."""
        while self.libpq.flush():
            self.poll.modify(self.libpq.socket, select.POLLIN | select.POLLOUT)
            if any(events & ~select.POLLOUT for _, events in self.poll.poll()):
                self.libpq.consume_input()
            self.poll.modify(self.libpq.socket, select.POLLIN)

    def results(self) -> list[PGresult]:
        """Wait for and return one result for each command that was sent."""
        found: list[PGresult] = []
        ended = True  # each result is followed by None
        while True:
            while self.libpq.is_busy():
                self.poll.poll()
                self.libpq.consume_input()
            result = self.libpq.get_result()
            if result is None:
                if ended:
                    raise OperationalError("the connection is lost")
                ended = True
            elif result.status == ExecStatus.PIPELINE_SYNC:
                return found
            else:
                found.append(result)
                ended = False


def _numbered(text: str) -> bytes:
    """The text with PostgreSQL's own places: `$1` for the first `%s`, and so on."""
    first, *others = text.split("%s")
    return (first + "".join(f"${place}{other}" for place, other in enumerate(others, start=1))).encode()
