"""From the engine at hand to a file of SQLite, and from that to another database of the engine, by the command operators
use: with a row of every table, whatever tables there will be."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.core import serializers
from django.core.management import CommandError, call_command
from django.db import connection, connections, models
from django.utils import timezone
from guardian.shortcuts import assign_perm

from aichat.catalog.models import AIModel
from aichat.chat.models import Conversation, Message
from aichat.core.database.models import uuid7
from aichat.management.commands.move_data import in_order, table
from credits.lots import catch_up
from credits.services import Reserve, apply, hold_expiry
from tests.conftest import Actor

pytestmark = pytest.mark.django_db(transaction=True)
COPY = "move_data_copy"


@pytest.fixture
def everything(alice: Actor, catalog: None) -> None:
    """At least a row of each table: those that must agree with others by the product's own words, the rest by the field."""
    alice.set_credits(7)
    apply([Reserve(wallet_id=alice.organization.pk, amount=5, expires_at=hold_expiry())])[0].or_raise()
    catch_up(alice.organization.pk)
    group = Group.objects.create(name="editors")
    group.permissions.add(Permission.objects.get(codename="change_user"))
    alice.user.groups.add(group)
    for whom in (alice.user, group):
        assign_perm("change_aimodel", whom, AIModel.objects.all()[0])
    conversation = Conversation.objects.create(organization=alice.organization, user=alice.user, title="Hello")
    Message.objects.bulk_create(
        [Message(conversation=conversation, role=Message.Role.USER, content=f"turn {n} ☂") for n in range(1200)]
    )
    for model in in_order():
        if not table(model).exists():
            values = {field.name: some_value(field) for field in model._meta.concrete_fields if needs(field)}
            table(model).bulk_create([model(**values)])  # as it is, without what saving adds


def needs(field: Any) -> bool:
    return not (field.has_default() or field.null or field.blank or isinstance(field, models.AutoField))


def some_value(field: Any) -> Any:
    if isinstance(field, models.ForeignKey):
        return table(field.related_model).first()
    if field.choices:
        return field.choices[0][0]
    match field.get_internal_type():
        case "DateTimeField":
            return timezone.now()
        case "DateField":
            return timezone.now().date()
        case "UUIDField":
            return uuid7()
        case "CharField" | "TextField":
            return "x"
        case "BinaryField":
            return b"x"
    return 1


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/file.sqlite3"


@pytest.fixture
def other(file: str) -> Iterator[str]:
    """The address of a further, empty database of the engine at hand; in this process it is the alias COPY."""
    entry = connections.settings["default"]
    name = f"{connection.settings_dict['NAME']}_copy"
    match connection.vendor:
        case "postgresql":
            address = f"postgres://{entry['USER']}@{entry['HOST']}:{entry['PORT']}/{name}"
            with connection.cursor() as cursor:
                cursor.execute(f'CREATE DATABASE "{name}"')
        case "mongodb":
            parts = urlsplit(entry["HOST"])
            address = parts._replace(path=f"/{name}").geturl()
        case _:
            address, name = file, file.removeprefix("sqlite:///")
    connections.settings[COPY] = {**entry, "NAME": name}
    copy: Any = connections[COPY]
    yield address
    match connection.vendor:
        case "postgresql":
            copy.close()
            copy.close_pool()
            with connection.cursor() as cursor:
                cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        case "mongodb":
            copy.connection.drop_database(name)
            copy.close_pool()
        case _:
            copy.close()
    del connections[COPY], connections.settings[COPY]


def move(source: str, target: str) -> None:
    subprocess.run(
        [sys.executable, settings.BASE_DIR / "manage.py", "move_data", "--to", target],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "aichat.settings", "DATABASE_URL": source},
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def rows(model: type[models.Model], alias: str = "default") -> list[str]:
    """All of them, as text. What the database numbers is named by what it is."""
    natural: dict[str, Any] = {"use_natural_foreign_keys": True, "use_natural_primary_keys": True}
    found = serializers.serialize("python", table(model).using(alias).order_by("pk"), **natural)
    numbered = isinstance(model._meta.pk, models.AutoField)
    return sorted(repr({**row, "pk": None} if numbered else row) for row in found)


def test_everything_arrives_with_its_keys_and_goes_on(everything: None, file: str, other: str) -> None:
    call_command("move_data", to=file)
    if other != file:
        move(file, other)
    connections[COPY].connect()  # itself: Django's tests refuse to for an alias they don't know
    for model in in_order():
        sent = rows(model)
        assert sent
        assert rows(model, COPY) == sent, model
    # What the database numbers goes on after what came.
    user = apps.get_model("accounts.User")._default_manager.using(COPY).get()
    Group.objects.using(COPY).create(name="writers").permissions.add(Permission.objects.using(COPY).all()[0])
    LogEntry.objects.using(COPY).create(user=user, action_flag=1, object_repr="x")
    assert table(LogEntry).using(COPY).count() == table(LogEntry).count() + 1


def test_a_database_with_tables_is_left_alone(alice: Actor, file: str) -> None:
    with sqlite3.connect(file.removeprefix("sqlite:///")) as other:
        other.execute("CREATE TABLE accounts_user (_id TEXT)")
    with pytest.raises(CommandError):
        call_command("move_data", to=file)
