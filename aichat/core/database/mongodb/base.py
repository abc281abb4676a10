"""The connection to MongoDB. Django loads this module for `ENGINE = "aichat.core.database.mongodb"`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import OperationalError
from django.db.models.signals import pre_migrate
from django_mongodb_backend import base, features, operations
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri
from pymongo.write_concern import WriteConcern

from aichat.core.database.mongodb import defaults
from aichat.core.database.mongodb.schema import DatabaseSchemaEditor
from aichat.core.database.outcomes import UNKNOWN_LABEL

# Seconds; MongoDB's own limit is 60, and a dead process's wallets were locked for 75. Ours take milliseconds each.
TRANSACTION_LIFETIME = 4
SEVERAL_MEMBERS = {"replicaset", "directconnection", "loadbalanced"}  # options of an address that names a whole set
COMMIT_PAUSE = 0.1  # seconds between two tries of a commit whose answer was lost

defaults.register()
pre_migrate.connect(defaults.fill)


class DatabaseFeatures(features.DatabaseFeatures):  # type: ignore[misc]
    supports_table_check_constraints = True


class DatabaseOperations(operations.DatabaseOperations):  # type: ignore[misc]
    compiler_module = "aichat.core.database.mongodb.compiler"


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]
    SchemaEditorClass = DatabaseSchemaEditor
    features_class = DatabaseFeatures
    ops_class = DatabaseOperations

    session: Any
    waits_for_disk = True

    @contextmanager
    def without_flush(self) -> Iterator[None]:
        """Inside, transactions are begun whose commit waits for the primary's memory only."""
        self.waits_for_disk = False
        try:
            yield
        finally:
            self.waits_for_disk = True

    def start_transaction_mongo(self) -> None:
        with operational_errors():
            if self.waits_for_disk or self.session is not None:
                super().start_transaction_mongo()
                return
            self.ensure_connection()
            self.session = self.connection.start_session()
            self.session.start_transaction(write_concern=WriteConcern(w=1, j=False))

    def commit_mongo(self) -> None:
        """Commit; when the answer is lost, commit the same transaction again, which MongoDB answers as the first time.

        The session ends in any case: the next transaction gets a new one.
        """
        if self.session:
            try:
                with operational_errors():
                    self._commit_transaction()
            except OperationalError:
                self._end_session()
                self.run_on_commit: list[Any] = []
                raise
            self._end_session()
        self.run_and_clear_commit_hooks()

    def _commit_transaction(self) -> None:
        deadline = time.monotonic() + settings.DATABASE_TIMEOUT
        while True:
            try:
                self.session.commit_transaction()
                return
            except PyMongoError as error:
                if time.monotonic() > deadline or not error.has_error_label(UNKNOWN_LABEL):
                    raise
            time.sleep(COMMIT_PAUSE)

    def server_time(self) -> datetime:
        """The clock of the primary, of millisecond precision; raises `OperationalError` when no answer comes."""
        with operational_errors():
            found: datetime = self.database.command("hello")["localTime"]
        return found.replace(tzinfo=UTC)  # BSON dates are UTC

    def limit_transactions(self) -> float:
        """Have every member end transactions of processes that died after `TRANSACTION_LIFETIME` seconds, if we may.

        Each member keeps a limit of its own, and a secondary may be the primary tomorrow. Returns the longest limit in
        force, in seconds; until then nobody else can write what such a transaction has written. A member that is away is
        left out. Raises `OperationalError` when the primary's limit can neither be set nor read.
        """
        with operational_errors(), MongoClient[dict[str, Any]](**self.get_connection_params()) as client:
            hello = client.admin.command("hello")
            limits = [limit_transactions_of(client)]
        for member in {*hello.get("hosts", ())} - {hello.get("primary")}:
            with suppress(PyMongoError), self._client_of(member) as client:
                limits.append(limit_transactions_of(client))
        return max(limits)

    def _client_of(self, member: str) -> MongoClient[dict[str, Any]]:
        """A client of one member (`host:port`) of the replica set, with the credentials and options of the address."""
        parts = parse_uri(self.settings_dict["HOST"])
        options = {name: value for name, value in parts["options"].items() if name not in SEVERAL_MEMBERS}
        more = {name: parts[name] for name in ("username", "password") if parts[name]}
        return MongoClient(member, directConnection=True, **{**options, **more, **self.settings_dict["OPTIONS"]})

    def has_transactions(self) -> bool:
        """Whether the server is part of a replica set or cluster; raises `OperationalError`."""
        # A client of its own: asked before the workers are forked, which connections don't survive.
        with operational_errors(), MongoClient[dict[str, Any]](**self.get_connection_params()) as client:
            hello = client.admin.command("hello")
        return "setName" in hello or hello.get("msg") == "isdbgrid"


def limit_transactions_of(client: MongoClient[dict[str, Any]]) -> float:
    """Set the limit of the server that `client` is connected to, if we may. Return the limit in force, in seconds."""
    name = "transactionLifetimeLimitSeconds"
    with suppress(OperationFailure):  # the user may not: the check says what to ask of the operator
        client.admin.command({"setParameter": 1, name: TRANSACTION_LIFETIME})
    return float(client.admin.command({"getParameter": 1, name: 1})[name])


@contextmanager
def operational_errors() -> Iterator[None]:
    """Raise the driver's errors as Django's `OperationalError`, where MongoDB's backend lets them through."""
    try:
        yield
    except PyMongoError as error:
        raise OperationalError(str(error)) from error
