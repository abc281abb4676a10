"""Declaring answers out of date: over REST, by the command and in the admin, each in the audit log."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.test import Client

from aichat.promptcache.key import prompt_version
from aichat.promptcache.models import Invalidation
from tests.conftest import Actor

URL = "/api/v1/admin/cache/invalidate"


def test_an_administrator_invalidates_over_rest(ada: Actor, alice: Actor, catalog: None) -> None:
    targets = {
        "all": ("", ""),
        "organization": (str(alice.organization.pk), str(alice.organization.pk)),
        "user": ("alice@example.com", str(alice.user.pk)),
        "model": ("demo", "demo"),
        "prompt": ("Be kind.", prompt_version("Be kind.")),
    }
    for scope, (name, target) in targets.items():
        response = ada.post(URL, {"scope": scope, **({"id": name} if name else {})})
        assert response.status_code == 200, response.content
        row = Invalidation.objects.get(scope=scope)
        assert (row.target, row.actor, row.request_id) == (target, ada.user, response["X-Request-ID"])
    assert LogEntry.objects.filter(user=ada.user).count() == len(targets)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"scope": "everything"}, "scope"),
        ({}, "scope"),
        ({"scope": "all", "id": "x"}, "id"),
        ({"scope": "model"}, "id"),
        ({"scope": "model", "id": "nowhere"}, "id"),
        ({"scope": "user", "id": "nobody@example.com"}, "id"),
        ({"scope": "organization", "id": "x"}, "id"),
    ],
)
def test_what_there_is_not_is_named(ada: Actor, body: Any, param: str) -> None:
    response = ada.post(URL, body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert not Invalidation.objects.exists()


def test_the_command_says_what_it_did(alice: Actor, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("invalidate_cache")
    call_command("invalidate_cache", "--user", "alice@example.com")
    assert list(Invalidation.objects.order_by("id").values_list("scope", flat=True)) == ["all", "user"]
    assert "all answers" in capsys.readouterr().out
    with pytest.raises(CommandError, match="no model 'nowhere'"):
        call_command("invalidate_cache", "--model", "nowhere")


def test_the_admin_has_a_page(ada: Actor, client: Client, catalog: None) -> None:
    client.force_login(ada.user)
    page = "/admin/promptcache/invalidation/"
    assert client.post(f"{page}add/", {"scope": "model", "target": "nowhere"}).status_code == 200
    assert client.post(f"{page}add/", {"scope": "model", "target": "demo"}).status_code == 302
    row = Invalidation.objects.get()
    assert (row.scope, row.target, row.actor) == ("model", "demo", ada.user)
    assert LogEntry.objects.filter(user=ada.user).count() == 1
    assert b"demo" in client.get(page).content
    assert client.post(f"{page}{row.pk}/delete/", {"post": "yes"}).status_code == 403
