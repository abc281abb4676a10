"""The export of a person's data is whole: no table that refers to a person is forgotten."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.apps import apps
from django.core.files.storage import default_storage
from django.db.models import Model

from accounts import invitations, personal_data
from accounts.models import Organization, User
from accounts.services import create_api_key
from accounts.teams import create_team
from aichat.chat.models import Conversation, Feedback, Message
from aichat.core.database.batches import rows_by_key
from aichat.core.database.models import uuid7
from aichat.images import storage
from aichat.images.models import ImageJob, Picture
from tests.conftest import PASSWORD, Actor
from tests.images.conftest import PNG

NAMES = {"user_id", "actor_id", "email"}


def export(http: httpx.Client, who: Actor) -> list[dict[str, Any]]:
    answer = http.get("/api/v1/me/export", headers={"Authorization": f"Bearer {who.token}"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/jsonl")
    return [json.loads(line) for line in answer.text.splitlines()]


def tables_of_people() -> set[str]:
    """Every table that leads to a person or an organization, over any number of references."""
    models: list[type[Model]] = apps.get_models(include_auto_created=True)
    found: set[type[Model]] = {User, Organization}
    found |= {model for model in models if NAMES & {field.attname for field in model._meta.concrete_fields}}
    while True:
        more = {
            model
            for model in models
            for field in model._meta.concrete_fields
            if field.is_relation and field.related_model in found and model not in found
        }
        if not more:
            return {model._meta.label for model in found}
        found |= more


def test_every_table_of_people_is_exported_or_says_why_not() -> None:
    stated = set(personal_data.EXPORTED) | set(personal_data.NOT_EXPORTED)
    missing = tables_of_people() - stated
    assert not missing, f"Name these in accounts/personal_data.py, as exported or with the reason why not: {missing}"
    assert stated <= tables_of_people()
    assert not set(personal_data.EXPORTED) & set(personal_data.NOT_EXPORTED)


# Columns that refer to a person, by which the rows of their table are not found.
OTHERWISE = {
    "accounts.Invitation": {"email", "user_id"},  # personal_data.FURTHER
    "accounts.User": {"email"},
    "credits.LedgerEntry": {"actor_id"},  # an administrator who gave credits to somebody else
    "payments.AlertSettings": {"email"},  # an organization's
}


def test_every_column_of_people_finds_their_rows_or_says_why_not() -> None:
    for label, (column, _) in personal_data.EXPORTED.items():
        fields = apps.get_model(label)._meta.concrete_fields
        of_people = {
            field.attname
            for field in fields
            if field.attname in NAMES or (field.related_model is User and field.attname != "personal_to_id")
        }
        assert of_people - {column} == OTHERWISE.get(label, set()), label


def test_each_table_is_found_by_a_column_it_has(alice: Actor) -> None:
    for label in personal_data.EXPORTED:
        assert personal_data.rows_of(label, alice.user).count() >= 0


def test_it_has_all_that_is_the_persons_and_nothing_of_others(
    http: httpx.Client, alice: Actor, bob: Actor, usage_record: Callable[..., Any]
) -> None:
    team = create_team(alice.user, "Wonderland").organization
    create_api_key(user=alice.user, organization=team, name="team key")
    for who, text in ((alice, "secret of alice ☃"), (bob, "secret of bob")):
        talk = Conversation.objects.create(organization=who.organization, user=who.user, title=text)
        for number in range(3):
            message = Message.objects.create(conversation=talk, role="assistant", content=f"{text} {number}")
        Feedback.objects.create(message=message, organization=who.organization, user=who.user, rating=1, comment=text)
        ImageJob.objects.create(
            organization=who.organization, user=who.user, prompt=text, requested_model="demo",
            hold_id=uuid7(), hold_amount=0,
        )  # fmt: skip
        usage_record(who, charged=0)
    assert alice.wallet.available
    bobs = create_team(bob.user, "Builders")
    invitations.ask(bobs, email=alice.user.email, role="MEMBER")
    alice.with_login().post("/api/v1/auth/password", {"current_password": PASSWORD, "new_password": f"{PASSWORD} 2"})
    rows = export(http, alice)
    assert "secret of bob" not in str(rows) and "bob@example.com" not in str(rows)
    (asked,) = [row["data"] for row in rows if row["type"] == "accounts.Invitation.received"]
    assert asked["organization_id"] == str(bobs.organization_id)
    (act,) = [row["data"] for row in rows if row["type"] == "admin.LogEntry.own"]
    assert "password_changed" in act["change_message"]
    kinds = [row["type"] for row in rows]
    assert kinds.count("chat.Message") == 3
    assert {"accounts.User", "accounts.AccessToken", "accounts.Membership", "chat.Conversation", "chat.Feedback",
            "images.ImageJob", "usage.UsageRecord", "credits.Wallet", "credits.LedgerEntry"} <= set(kinds)  # fmt: skip
    assert next(row["data"]["content"] for row in rows if row["type"] == "chat.Message") == "secret of alice ☃ 0"
    assert rows[-1] == {"type": "end", "data": {"lines": len(rows) - 1}}


def test_the_files_of_pictures_are_in_it(alice: Actor, bob: Actor, db: None, settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    for who in (alice, alice, bob):
        job = ImageJob.objects.create(
            organization=who.organization, user=who.user, prompt="x", requested_model="demo",
            hold_id=uuid7(), hold_amount=0,
        )  # fmt: skip
        picture = Picture(job=job, content_type="image/png", width=1, height=1)
        picture.file, picture.thumbnail = storage.store(job.pk, picture.pk, storage.verify(PNG))
        picture.save()
    gone = Picture.objects.filter(job__user=alice.user).order_by("pk")[0]
    default_storage.delete(gone.file)
    rows = [json.loads(line) for part in personal_data.lines(alice.user) for line in part.splitlines()]
    files = {row["data"]["picture_id"]: row["data"]["base64"] for row in rows if row["type"] == "images.Picture.file"}
    assert len(files) == 2 and files.pop(str(gone.pk)) is None
    assert base64.b64decode(next(iter(files.values()))).startswith(b"\x89PNG")
    assert rows[-1]["data"]["lines"] == len(rows) - 1


def test_no_secret_is_in_it(http: httpx.Client, alice: Actor) -> None:
    text = json.dumps(export(http, alice))
    assert alice.user.password not in text and '"digest"' not in text and '"password"' not in text


def test_a_team_s_key_and_a_limited_key_get_none(alice: Actor) -> None:
    team = create_team(alice.user, "Wonderland").organization
    _, teams_key = create_api_key(user=alice.user, organization=team, name="ci")
    _, limited = create_api_key(user=alice.user, organization=alice.organization, name="x", spend_limit=1)
    for key in (teams_key, limited):
        assert alice.get("/api/v1/me/export", headers={"Authorization": f"Bearer {key}"}).status_code == 403
    assert alice.get("/api/v1/me/export").status_code == 200


def test_it_is_limited(alice: Actor, settings: Any) -> None:
    settings.RATE_LIMIT_AUTH = "2/min"
    assert [alice.get("/api/v1/me/export").status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.django_db
def test_rows_are_read_in_batches(alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Conversation.objects.create(organization=alice.organization, user=alice.user, title="long")
    for _ in range(7):
        Message.objects.create(conversation=talk, role="user", content="x")
    monkeypatch.setattr(personal_data, "rows_by_key", lambda rows: rows_by_key(rows, 2))
    rows = [json.loads(line) for part in personal_data.lines(alice.user) for line in part.splitlines()]
    assert sum(row["type"] == "chat.Message" for row in rows) == 7
