"""Flags at work: rows, environment, the kill switches, and what clients see of them."""

import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.test import Client
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from aichat.core import snapshot
from aichat.core.errors import ApiError
from aichat.core.snapshot import LIMIT
from aichat.flags import evaluation, services
from aichat.flags.features import SWITCHES
from aichat.flags.models import Flag
from aichat.flags.permissions import needs
from tests.conftest import Actor
from tests.flags.overrides import override_flag

MakeFlag = Callable[..., Flag]


@pytest.fixture
def make_flag(db: None) -> MakeFlag:
    def make(key: str, **fields: Any) -> Flag:
        Flag.objects.filter(key=key).delete()
        row = Flag(key=key, **{"enabled": True, **fields})
        services.save(row, actor=None)
        return row

    return make


def test_a_flag_is_on_for_its_audience(make_flag: MakeFlag, alice: Actor, bob: Actor) -> None:
    make_flag("greeting", users=["ALICE@example.com"])
    assert evaluation.is_enabled("greeting", alice.user)
    assert not evaluation.is_enabled("greeting", bob.user)
    assert not evaluation.is_enabled("greeting")


def test_a_flag_that_is_off_is_off_for_named_users_too(make_flag: MakeFlag, alice: Actor) -> None:
    make_flag("greeting", enabled=False, users=[str(alice.user.pk)])
    assert not evaluation.is_enabled("greeting", alice.user)


def test_an_unknown_flag_is_off_and_says_so_once(db: None, caplog: pytest.LogCaptureFixture) -> None:
    evaluation._warned.clear()
    with caplog.at_level(logging.WARNING, "aichat.flags"):
        assert not evaluation.is_enabled("grreting")
        assert not evaluation.is_enabled("grreting")
    assert [record.getMessage() for record in caplog.records] == ["there is no flag 'grreting': it is off"]


def test_the_switches_of_the_product_are_on_without_a_row(db: None) -> None:
    Flag.objects.all().delete()
    evaluation.forget()
    assert all(evaluation.is_enabled(key) for key in SWITCHES)


def test_the_environment_decides_over_the_row(make_flag: MakeFlag, settings: Any) -> None:
    make_flag("new-greeting", enabled=False)
    settings.FLAG_OVERRIDES = {"new_greeting": True}
    assert evaluation.is_enabled("new-greeting")


def test_override_flag_decides_over_everything_and_goes_away(make_flag: MakeFlag, settings: Any) -> None:
    make_flag("greeting")
    settings.FLAG_OVERRIDES = {"greeting": True}
    with override_flag("greeting", False):
        assert not evaluation.is_enabled("greeting")
    assert evaluation.is_enabled("greeting")


def test_a_change_made_elsewhere_is_seen_within_two_seconds(make_flag: MakeFlag, monkeypatch: Any) -> None:
    row = make_flag("greeting")
    assert evaluation.is_enabled("greeting")
    Flag.objects.filter(pk=row.pk).update(enabled=False)  # by another process
    assert evaluation.is_enabled("greeting")
    monkeypatch.setattr(evaluation._rules, "read_at", evaluation._rules.read_at - LIMIT)
    assert not evaluation.is_enabled("greeting")


def test_a_question_is_answered_from_memory(
    make_flag: MakeFlag, alice: Actor, django_assert_num_queries: Any, monkeypatch: Any
) -> None:
    make_flag("greeting", percentage=50)
    evaluation.is_enabled("greeting", alice.user)
    monkeypatch.setattr(snapshot, "LIMIT", 60.0)
    with django_assert_num_queries(0):
        for _ in range(10):
            evaluation.is_enabled("greeting", alice.user)


def test_a_drf_view_can_need_a_flag(make_flag: MakeFlag, alice: Actor) -> None:
    make_flag("greeting", enabled=False)

    class View(APIView):
        permission_classes = [needs("greeting")]

    request = APIRequestFactory().get("/")
    request.user = alice.user
    with pytest.raises(evaluation.FeatureDisabled, match="greeting"):
        View().check_permissions(View().initialize_request(request))


def test_clients_see_their_flags(make_flag: MakeFlag, alice: Actor, bob: Actor) -> None:
    make_flag("greeting", users=[str(alice.user.pk)])
    assert alice.get("/api/v1/flags").json()["greeting"] == {"enabled": True, "variant": None}
    assert bob.get("/api/v1/flags").json()["greeting"] == {"enabled": False, "variant": None}
    assert bob.get("/api/v1/flags").json()["streaming"] == {"enabled": True, "variant": None}


# --- The kill switches at work ----------------------------------------------------------------------------------------


def refused(response: Any, feature: str) -> bool:
    error = response.json()["error"]
    return (response.status_code, error["code"], error["feature"]) == (403, "permission_denied", feature)


def test_streaming_can_be_switched_off_while_plain_answers_go_on(
    http: httpx.Client, alice: Actor, make_flag: MakeFlag
) -> None:
    make_flag("streaming", enabled=False)
    chat = {"message": "Hello"}
    completion = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
    assert refused(http.post("/api/v1/chat", json={**chat, "stream": True}, headers=alice.headers), "streaming")
    assert refused(
        http.post("/v1/chat/completions", json={**completion, "stream": True}, headers=alice.headers), "streaming"
    )
    assert http.post("/api/v1/chat", json=chat, headers=alice.headers).status_code == 200
    assert alice.wallet.held == 0


def test_tools_can_be_switched_off(http: httpx.Client, alice: Actor) -> None:
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": "Hello"}],
        "tools": [{"type": "function", "function": {"name": "now", "parameters": {}}}],
    }
    with override_flag("tools", False):
        assert refused(http.post("/v1/chat/completions", json=body, headers=alice.headers), "tools")
    assert http.post("/v1/chat/completions", json=body, headers=alice.headers).status_code == 200


def test_images_can_be_switched_off_wholly_or_in_the_background(http: httpx.Client, alice: Actor) -> None:
    image = {"prompt": "A cat"}
    with override_flag("images", False):
        assert refused(http.post("/api/v1/images", json=image, headers=alice.headers), "images")
        assert refused(http.post("/v1/images/generations", json=image, headers=alice.headers), "images")
    with override_flag("background_images", False):
        body = {**image, "background": True}
        assert refused(http.post("/api/v1/images", json=body, headers=alice.headers), "background_images")


def test_registration_can_be_switched_off(anonymous: Client, make_flag: MakeFlag) -> None:
    make_flag("registration", enabled=False)
    body = {"email": "new@example.com", "password": "correct horse battery"}
    assert refused(anonymous.post("/api/v1/auth/register", body, content_type="application/json"), "registration")
    make_flag("registration")
    assert anonymous.post("/api/v1/auth/register", body, content_type="application/json").status_code == 201


# --- Administration ---------------------------------------------------------------------------------------------------


def test_only_admins_reach_the_administration(ada: Actor, alice: Actor) -> None:
    for path in ("flags", "flags/streaming", "flags/streaming/history"):
        assert alice.get(f"/api/v1/admin/{path}").status_code == 403
        assert ada.get(f"/api/v1/admin/{path}").status_code == 200


def test_a_flag_is_made_changed_and_deleted_with_its_history(ada: Actor, alice: Actor) -> None:
    body = {"key": "greeting", "description": "Says hello", "enabled": True, "percentage": 10, "roles": ["USER"]}
    made = ada.post("/api/v1/admin/flags", body)
    assert made.status_code == 201
    assert {name: made.json()[name] for name in body} == body
    changed = ada.patch("/api/v1/admin/flags/greeting", {"percentage": 20, "users": [str(alice.user.pk)]})
    assert changed.status_code == 200 and changed.json()["percentage"] == 20
    assert alice.get("/api/v1/flags").json()["greeting"]["enabled"]
    assert ada.delete("/api/v1/admin/flags/greeting").status_code == 204
    history = ada.get("/api/v1/admin/flags/greeting/history").json()["results"]
    assert [entry["changes"]["percentage"] for entry in history] == [["20", None], ["10", "20"], [None, "10"]]
    assert set(history[1]["changes"]) == {"percentage", "users"}
    assert history[1]["actor"] == "ada@example.com" and history[1]["request_id"] == changed["X-Request-ID"]


def test_a_switch_is_set_whether_or_not_it_has_a_row_and_never_deleted(ada: Actor) -> None:
    Flag.objects.all().delete()
    assert ada.patch("/api/v1/admin/flags/images", {"enabled": False}).status_code == 200
    assert ada.post("/api/v1/admin/flags", {"key": "images", "enabled": True}).status_code == 201
    assert evaluation.is_enabled("images")
    assert ada.delete("/api/v1/admin/flags/images").status_code == 400


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"key": "a b"}, "key", "letters"),
        ({}, "key", "required"),
        ({"key": ["streaming"]}, "key", "string"),
        ({"key": "f", "percentage": 101}, "percentage", "100"),
        ({"key": "f", "percentage": -1}, "percentage", "0"),
        ({"key": "f", "percentage": "many"}, "percentage", "integer"),
        ({"key": "f", "roles": ["KING"]}, "roles", "KING"),
        ({"key": "f", "roles": "USER"}, "roles", "list"),
        ({"key": "f", "users": ["nobody@example.com"]}, "users", "nobody@example.com"),
        ({"key": "f", "organizations": [str(UUID(int=3))]}, "organizations", str(UUID(int=3))),
        ({"key": "f", "starts_at": "2027-02-01T00:00Z", "ends_at": "2027-01-01T00:00Z"}, "ends_at", "after"),
    ],
)
def test_a_wrong_flag_is_a_400_that_names_the_field(ada: Actor, body: Any, param: str, says: str) -> None:
    response = ada.post("/api/v1/admin/flags", body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"].split(".")[0]) == (400, "invalid_request", param)
    assert says in error["message"]
    assert not Flag.objects.filter(key="f").exists()


def test_two_flags_of_one_key_and_a_renamed_flag_are_refused(ada: Actor) -> None:
    assert ada.post("/api/v1/admin/flags", {"key": "greeting"}).status_code == 201
    assert ada.post("/api/v1/admin/flags", {"key": "greeting"}).json()["error"]["param"] == "key"
    assert ada.patch("/api/v1/admin/flags/greeting", {"key": "other"}).json()["error"]["param"] == "key"
    assert ada.patch("/api/v1/admin/flags/unheard", {"enabled": True}).status_code == 404


def test_a_disabled_feature_is_an_api_error() -> None:
    error: ApiError = evaluation.FeatureDisabled("background_images")
    assert error.status == 403 and error.message == "The feature 'background_images' is switched off at the moment."
