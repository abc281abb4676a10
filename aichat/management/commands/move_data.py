import os
import subprocess
import sys
from collections.abc import Iterable
from typing import IO, Any

import orjson
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers import python as serializers
from django.db import DEFAULT_DB_ALIAS, Error, connection, models

from aichat.core.database import time_limits
from aichat.core.database.batches import rows_by_key

MADE_BY_MIGRATE = {"contenttypes.ContentType", "auth.Permission"}
Model = type[models.Model]


class Command(BaseCommand):
    help = """Copy everything from DATABASE_URL to another database, of any engine, with all keys. Stop the server first.

    The other database must be empty: the command makes its tables, and verifies its ledger at the end. A second process
    with the other engine's settings writes the copy; the first sends it rows in batches, as lines of JSON.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        way = parser.add_mutually_exclusive_group(required=True)
        way.add_argument("--to", metavar="URL", help="Where to: sqlite:///…, postgres://… or mongodb://…")
        way.add_argument("--receive", action="store_true", help="Read from the standard input (the second process).")

    @time_limits.lifted()
    def handle(self, *args: Any, to: str | None, receive: bool, **options: Any) -> None:
        if receive:
            self.receive(sys.stdin.buffer)
        else:
            self.send(to or "")

    def send(self, to: str) -> None:
        other = subprocess.Popen(  # noqa: S603
            [sys.executable, settings.BASE_DIR / "manage.py", "move_data", "--receive"],
            env={**os.environ, "DATABASE_URL": to, "DJANGO_SETTINGS_MODULE": "aichat.settings"},
            stdin=subprocess.PIPE,
        )
        assert other.stdin is not None
        try:
            for model in in_order():
                self.send_model(model, other.stdin)
            other.stdin.close()
        except BrokenPipeError:
            pass  # it has said why
        if other.wait():
            raise CommandError(
                "Nothing was lost, but the copy is not complete: empty the other database and try again."
            )

    def send_model(self, model: Model, pipe: IO[bytes]) -> None:
        rows = table(model).order_by("pk")
        total, sent = rows.count(), 0
        for batch in rows_by_key(rows):
            pipe.write(orjson.dumps({"model": model._meta.label, "rows": dump(model, batch)}, default=str) + b"\n")
            sent += len(batch)
            self.progress(model, sent, total)
        pipe.write(orjson.dumps({"model": model._meta.label, "total": sent}) + b"\n")

    def progress(self, model: Model, sent: int, total: int) -> None:
        if self.stderr.isatty() or sent == total:
            line_end = "\n" if sent >= total else "\r"
            self.stderr.write(f"{model._meta.label}  {sent}/{total}", ending=line_end)

    def receive(self, pipe: IO[bytes]) -> None:
        tables = set(connection.introspection.table_names())
        if tables & {model._meta.db_table for model in in_order()}:
            raise CommandError("The database to copy to is not empty: it has our tables already.")
        call_command("migrate", interactive=False, verbosity=0)
        for model in reversed(in_order()):
            table(model).delete()  # what migrations put there comes with the copy
        keep_times()
        for line in pipe:
            message = orjson.loads(line)
            model = apps.get_model(message["model"])
            if "rows" in message:
                try:
                    load(model, message["rows"])
                except Error as error:
                    raise CommandError(f"{message['model']}: {error}") from error
            elif (arrived := table(model).count()) != message["total"]:
                raise CommandError(f"{message['model']}: {message['total']} rows were sent, {arrived} arrived.")
        call_command("verify_ledger")


def in_order() -> list[Model]:
    """Every table to copy; a table stands after those that its foreign keys refer to."""
    wanted = [model for model in apps.get_models() if model._meta.managed and not model._meta.proxy]
    ordered: list[Model] = []

    def visit(model: Model) -> None:
        if model in ordered or model not in wanted:
            return
        wanted.remove(model)
        for field in model._meta.get_fields():
            if isinstance(field, models.ForeignKey | models.ManyToManyField) and field.related_model != model:
                visit(field.related_model)
        ordered.append(model)

    while wanted:
        visit(wanted[0])
    return [model for model in ordered if model._meta.label not in MADE_BY_MIGRATE]


def table(model: Model) -> models.QuerySet[Any]:
    """All rows of a table, by a plain queryset: a model's own manager may hide rows or forbid writing."""
    return models.QuerySet(model)


def counted(model: Model) -> bool:
    """Whether the database makes the rows' keys: each engine makes other ones, so these keys can't be copied."""
    return isinstance(model._meta.pk, models.AutoField)


def dump(model: Model, rows: Iterable[models.Model]) -> list[dict[str, Any]]:
    """Rows in the form of Django's serializers. A key that the database makes is replaced by the natural key."""
    related = {field.related_model for field in model._meta.get_fields() if field.is_relation and field.concrete}
    natural = counted(model) or any(isinstance(other, type) and counted(other) for other in related)
    dumped: list[dict[str, Any]] = serializers.Serializer().serialize(
        rows, use_natural_foreign_keys=natural, use_natural_primary_keys=counted(model)
    )
    if counted(model):
        for row in dumped:
            row["pk"] = None
    return dumped


def keep_times() -> None:
    """Switch `auto_now` and `auto_now_add` off in this process, which only copies: they would set today's date."""
    for model in apps.get_models():
        for field in model._meta.local_fields:
            if isinstance(field, models.DateField):
                field.auto_now = field.auto_now_add = False


def load(model: Model, rows: list[dict[str, Any]]) -> None:
    made = list(serializers.Deserializer(rows, using=DEFAULT_DB_ALIAS))
    table(model).bulk_create([each.object for each in made])
    for each in made:
        for name, related in (each.m2m_data or {}).items():
            if related:
                getattr(each.object, name).set(related)
