"""No row is written back whole: what others changed since it was read stays as they left it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts import services
from accounts.models import AccessToken, Role, User
from accounts.serializers import UserSerializer
from aichat.chat.models import Conversation
from aichat.core.database import transactions
from aichat.core.errors import NotFound
from aichat.flags.models import Flag
from tests.conftest import Actor

ROOT = Path(__file__).parents[1]
PARTS = ("accounts", "admin_dashboard", "aichat", "credits")
# Calls that make a row, or save something that is none. By file: how many.
MAKES_ROWS = {
    "accounts/models/users.py": 2,  # a new user; `SavesChanges.save` is called with what it was given
    "aichat/catalog/models.py": 1,  # `AIModel.save` passes on what it was given
    "aichat/catalog/provider_models.py": 2,  # `Provider.save` the same; `ProviderKey.give`
    "aichat/catalog/key_forms.py": 1,  # a form's, of rows that save by `SavesChanges` what it changed
    "admin_dashboard/demo/generator.py": 1,  # a new user
    "aichat/core/database/models.py": 1,  # `SavesChanges.save` itself
    "aichat/flags/services.py": 1,  # a new row, or by `SavesChanges` what a form changed
    "credits/views.py": 1,  # a form: `StrictMembers.update` names the columns
    "aichat/images/storage.py": 3,  # files
    "aichat/providers/demo/calls.py": 1,  # a file
    "aichat/providers/demo/images.py": 1,  # a file
}


def bare_saves(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "save":
            named = {keyword.arg for keyword in node.keywords}
            of_a_module = {"actor", "fields"} & named  # `editing.save(…)`, `services.save(…)`: verbs of ours
            if not (named & {"update_fields", "force_insert"} or of_a_module):
                yield node


def test_every_save_names_the_columns_it_writes_or_makes_a_row() -> None:
    found = {}
    for part in PARTS:
        for path in (ROOT / part).rglob("*.py"):
            if "migrations" not in path.parts and (number := len(list(bare_saves(path)))):
                found[str(path.relative_to(ROOT))] = number
    extra = {path: number for path, number in found.items() if number > MAKES_ROWS.get(path, 0)}
    assert extra == {}, "Name the columns: save(update_fields=[…])"


def test_a_person_who_renames_themselves_does_not_undo_what_an_administrator_does_meanwhile(
    alice: Actor, ada: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.change_user(alice.user, role=Role.SUBSCRIBER)
    validate = UserSerializer.run_validation

    def deactivate_meanwhile(form: Any, data: Any) -> Any:
        services.change_user(User.objects.get(pk=alice.user.pk), role=Role.USER, is_active=False, actor=ada.user)
        return validate(form, data)

    monkeypatch.setattr(UserSerializer, "run_validation", deactivate_meanwhile)
    assert alice.patch("/api/v1/me", {"name": "Alice II"}).status_code == 200
    row = User.objects.get(pk=alice.user.pk)
    assert (row.name, row.role, row.is_active) == ("Alice II", Role.USER, False)
    assert alice.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize("verb", ["save", "admin's password form"])
def test_a_row_that_was_read_before_writes_only_what_it_changed(alice: Actor, verb: str) -> None:
    stale = User.objects.get(pk=alice.user.pk)
    User.objects.filter(pk=alice.user.pk).update(is_active=False, role=Role.SUBSCRIBER)
    if verb == "save":
        stale.name = "Other"
    else:
        stale.set_password("another long password")
    stale.save()
    row = User.objects.get(pk=alice.user.pk)
    assert (row.is_active, row.role) == (False, Role.SUBSCRIBER)
    assert row.name == "Other" if verb == "save" else row.check_password("another long password")


def test_a_stale_token_does_not_bring_a_revoked_key_back(alice: Actor) -> None:
    stale = AccessToken.objects.filter(kind=AccessToken.Kind.API_KEY, user=alice.user).get()
    services.revoke(AccessToken.objects.get(pk=stale.pk))
    stale.spend_limit = 5
    stale.save()
    row = AccessToken.objects.get(pk=stale.pk)
    assert row.spend_limit == 5
    assert row.revoked_at is not None


def test_lists_changed_in_place_are_written(db: None) -> None:
    Flag.objects.create(key="beta", roles=["USER"])
    row = Flag.objects.get(key="beta")
    row.roles.append("ADMIN")
    row.save()
    assert Flag.objects.get(key="beta").roles == ["USER", "ADMIN"]
    row.refresh_from_db()
    assert row.changed_columns() == []


def test_a_row_deleted_meanwhile_is_not_made_again(transactional_db: None, alice: Actor) -> None:
    row = Conversation.objects.create(organization=alice.organization, user=alice.user, title="x")
    stale = Conversation.objects.get(pk=row.pk)
    Conversation.objects.filter(pk=row.pk).delete()
    stale.title = "y"
    with pytest.raises(NotFound):
        stale.save()
    assert not Conversation.objects.filter(pk=row.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_work_that_runs_again_after_a_rollback_writes_the_same_columns_again(alice: Actor) -> None:
    row, tries = User.objects.get(pk=alice.user.pk), []
    flag = Flag(key="made-again")

    def rename_and_make() -> None:
        tries.append(1)
        row.name = "Alice III"
        row.save()
        flag.save()
        if len(tries) == 1:
            raise transactions.Conflict("somebody was quicker")

    transactions.run_atomic(rename_and_make)
    assert User.objects.get(pk=row.pk).name == "Alice III"
    assert Flag.objects.filter(key="made-again").exists()
