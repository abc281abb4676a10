"""From the engine at hand to a fresh SQLite file, by the command operators use."""

import sqlite3
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command

from aichat.chat.models import Conversation, Message
from credits.models import LedgerEntry
from tests.conftest import Actor

pytestmark = pytest.mark.django_db(transaction=True)


def test_everything_arrives_with_its_keys(alice: Actor, catalog: None, tmp_path: Path) -> None:
    alice.set_credits(7)
    group = Group.objects.create(name="editors")
    group.permissions.add(Permission.objects.get(codename="change_user"))
    alice.user.groups.add(group)
    conversation = Conversation.objects.create(organization=alice.organization, user=alice.user, title="Hello")
    Message.objects.bulk_create(
        [Message(conversation=conversation, role=Message.Role.USER, content=f"turn {n}") for n in range(1200)]
    )
    call_command("move_data", to=f"sqlite:///{tmp_path}/copy.sqlite3")
    with sqlite3.connect(tmp_path / "copy.sqlite3") as copy:
        assert copy.execute("SELECT _id, email FROM accounts_user").fetchall() == [
            (alice.user.pk.hex, "alice@example.com")
        ]
        assert copy.execute("SELECT available FROM credits_wallet").fetchall() == [(7_000_000,)]
        assert copy.execute("SELECT count(*) FROM chat_message").fetchone() == (1200,)
        digests = copy.execute("SELECT digest FROM credits_ledgerentry ORDER BY sequence").fetchall()
        named = copy.execute(
            "SELECT u.email, p.codename FROM accounts_user_groups m JOIN accounts_user u ON u._id = m.user_id "
            "JOIN auth_group_permissions g ON g.group_id = m.group_id JOIN auth_permission p ON p.id = g.permission_id"
        ).fetchall()
    assert digests == list(LedgerEntry.objects.order_by("sequence").values_list("digest"))
    assert named == [("alice@example.com", "change_user")]


def test_a_database_with_tables_is_left_alone(alice: Actor, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "copy.sqlite3") as other:
        other.execute("CREATE TABLE accounts_user (_id TEXT)")
    with pytest.raises(CommandError):
        call_command("move_data", to=f"sqlite:///{tmp_path}/copy.sqlite3")
