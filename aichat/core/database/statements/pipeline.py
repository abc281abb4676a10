"""Sends frequent statements to PostgreSQL by libpq's pipeline mode.

Each statement is prepared once for its connection, and several go out in one round trip, in order: after a statement that
fails, the following ones are not executed. psycopg's cursors wait for every answer, also for that of `BEGIN`: five statements
of a transaction took 110 µs of the client's CPU and 90 of the server's with cursors; here they take 20 and 40.

https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

import select
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from psycopg import Connection, OperationalError
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

from aichat.core.database.outcomes import UNTOLD

Rows: TypeAlias = list[tuple[Any, ...]]
Command: TypeAlias = Callable[[], None]


class Exchange(NamedTuple):
    """The commands of one round trip; `commits`: the last of them is COMMIT."""

    commands: Sequence[Command]
    commits: bool


Exchanges: TypeAlias = Generator[Exchange, list[PGresult], list[Rows]]

# The server takes a table that was never analyzed for a small one, which is best read as a whole. A plan is kept until the
# table is analyzed, so it must not be made on that assumption: this setting holds for the transaction in which it is made.
FOR_LARGE_TABLES = "SET LOCAL enable_seqscan = off"


def send(
    connection: "Connection[Any]", statements: Sequence[tuple[str, Sequence[Any]]], *, commit: bool = False
) -> list[Rows]:
    """Send texts (with `%s`) and their values; return the rows of each. Raises the first `psycopg.Error`.

    Outside of autocommit mode `BEGIN` is sent before the first text, as psycopg does. With `commit` a `COMMIT` is sent
    after the last text, and `connection.commit()` finds nothing to do.
    """
    line: _WaitingLine | None = getattr(connection, "statements_line", None)
    if line is None:
        line = connection.statements_line = _WaitingLine(connection)  # type: ignore[attr-defined]
    return line.send(statements, commit=commit)


class Line:
    """Sends statements on one connection, and knows which ones are prepared there. How it waits is up to the subclass."""

    def __init__(self, connection: "Connection[Any]") -> None:
        self.connection, self.libpq = connection, connection.pgconn
        self.keeps_plans = connection.prepare_threshold is not None  # a pooler may not have them kept
        self.names: dict[str, bytes] = {}
        self.made = 0  # names given; one whose preparation failed is not given again
        self.transformer = Transformer(connection)
        self.results: list[PGresult] = []
        self.is_at_end = True  # of the results of a command: each is followed by None

    def exchanges(
        self, statements: Sequence[tuple[str, Sequence[Any]]], begin: Sequence[str], end: Sequence[str]
    ) -> Exchanges:
        """Yield what goes out in each round trip, take the results, and return the rows of the statements.

        `begin` and `end` are texts without values around them, like BEGIN and COMMIT. There is one round trip, and one
        before it for texts that this connection has not prepared yet.
        """
        # First of all: a value that PostgreSQL has no type for raises its error before anything is sent.
        dumped = [(text, self._dump(values)) for text, values in statements]
        # BEGIN and COMMIT too: a server that rests between two chats would read in its whole parser for them.
        texts = dict.fromkeys([*begin, *(text for text, _ in statements), *end])
        if self.keeps_plans and (new := [text for text in texts if text not in self.names]):
            names = {text: b"line_%d" % number for number, text in enumerate(new, start=self.made)}
            self.made += len(names)
            preparing = [partial(self.libpq.send_prepare, name, _numbered(text)) for text, name in names.items()]
            yield Exchange([*map(self.saying, [*begin, FOR_LARGE_TABLES]), *preparing], commits=False)
            self.names |= names
            begin = []
        asking = [self._asking(text, values) for text, values in dumped]
        around = [[self._asking(text, ()) for text in side] for side in (begin, end)]
        results = yield Exchange([*around[0], *asking, *around[1]], commits=bool(end))
        return [self._load(result) for result in results[len(begin) : len(results) - len(end)]]

    def saying(self, text: str) -> Command:
        """The command that sends a text without values, which need not be prepared."""
        return partial(self.libpq.send_query_params, text.encode(), None)

    def put(self, exchange: "Exchange") -> None:
        """Hand all commands to libpq, which sends them when it is flushed."""
        self.results, self.is_at_end = [], True
        for command in exchange.commands:
            command()
        self.libpq.pipeline_sync()

    def take(self) -> bool:
        """Take the results that have come; return whether these are all. Raises `OperationalError` when they end early."""
        while not self.libpq.is_busy():
            result = self.libpq.get_result()
            if result is None:
                if self.is_at_end:
                    raise OperationalError("the connection is lost")
                self.is_at_end = True
            elif result.status == ExecStatus.PIPELINE_SYNC:
                return True
            else:
                self.results.append(result)
                self.is_at_end = False
        return False

    def checked(self, exchange: "Exchange") -> list[PGresult]:
        """The results of an exchange, one for each command. Raises the error of the first command that failed."""
        for result in self.results:
            if result.status == ExecStatus.FATAL_ERROR:
                error = error_from_result(result, self.transformer.encoding)
                if isinstance(error, InvalidSqlStatementName):
                    self.names.clear()  # somebody had the session forget its plans: they are made again at the next try
                # Most errors of COMMIT tell that nothing stands: a foreign key, a serialization failure.
                is_untold = error.sqlstate is None or error.sqlstate.startswith(UNTOLD)
                error.commit_was_sent = exchange.commits and result is self.results[-1] and is_untold  # type: ignore[attr-defined]
                raise error
        return self.results

    def _dump(self, values: Sequence[Any]) -> Sequence[Any]:
        return self.transformer.dump_sequence(values, [PyFormat.TEXT] * len(values))

    def _load(self, result: PGresult) -> Rows:
        if result.status != ExecStatus.TUPLES_OK:
            return []
        self.transformer.set_pgresult(result)
        return self.transformer.load_rows(0, result.ntuples, tuple)

    def _asking(self, text: str, values: Sequence[Any]) -> Command:
        if self.keeps_plans:
            return partial(self.libpq.send_query_prepared, self.names[text], values, result_format=Format.BINARY)
        return partial(self.libpq.send_query_params, _numbered(text), values, result_format=Format.BINARY)


class _WaitingLine(Line):
    """A line whose thread waits for the answers."""

    def __init__(self, connection: "Connection[Any]") -> None:
        super().__init__(connection)
        self.poll = select.poll()  # `select` itself knows no more than 1,024 descriptors
        self.poll.register(self.libpq.socket, select.POLLIN)

    def send(self, statements: Sequence[tuple[str, Sequence[Any]]], *, commit: bool) -> list[Rows]:
        is_begun = self.connection.autocommit or self.libpq.transaction_status != TransactionStatus.IDLE
        exchanges = self.exchanges(statements, [] if is_begun else ["BEGIN"], ["COMMIT"] if commit else [])
        exchange = next(exchanges)
        while True:
            try:
                exchange = exchanges.send(self.exchange(exchange))
            except StopIteration as end:
                rows: list[Rows] = end.value
                return rows

    def exchange(self, exchange: "Exchange") -> list[PGresult]:
        """Send all commands, and return one result for each.

        When the connection is lost and the last command commits, the error says so in its attribute `commit_was_sent`.
        """
        self.libpq.enter_pipeline_mode()
        try:
            self.put(exchange)
            self.flush()
            while not self.take():
                self.poll.poll()
                self.libpq.consume_input()
            self.libpq.exit_pipeline_mode()
        except BaseException as lost:
            lost.commit_was_sent = exchange.commits  # type: ignore[attr-defined]
            self.libpq.finish()  # the next statement would take the outstanding results for its own
            raise
        return self.checked(exchange)

    def flush(self) -> None:
        """Send until nothing is left. Answers are read meanwhile: a server whose answers nobody takes stops reading."""
        while self.libpq.flush():
            self.poll.modify(self.libpq.socket, select.POLLIN | select.POLLOUT)
            if any(events & ~select.POLLOUT for _, events in self.poll.poll()):
                self.libpq.consume_input()
            self.poll.modify(self.libpq.socket, select.POLLIN)


def _numbered(text: str) -> bytes:
    """The text with PostgreSQL's own places: `$1` for the first `%s`, and so on."""
    first, *others = text.split("%s")
    return (first + "".join(f"${place}{other}" for place, other in enumerate(others, start=1))).encode()
