"""The admin's form of who may use a model."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import teams
from aichat.catalog.models import AIModel
from aichat.core.admin import audit_log
from tests.admin_dashboard.conftest import console
from tests.admin_dashboard.pages.test_writes import last_audit, model_form
from tests.conftest import Actor

__all__ = ["console"]


def save(console: Client, **who: list[Any]) -> None:
    model = AIModel.objects.get(slug="demo")
    form = model_form(model, request_price="1", **{f"allowed_{name}": value for name, value in who.items()})
    response = console.post(reverse("admin:catalog_aimodel_change", args=[model.pk]), form)
    assert response.status_code == 302, response.context["errors"]


def sees_demo(who: Actor) -> bool:
    return "demo" in {model["id"] for model in who.get("/v1/models").json()["data"]}


def test_a_model_is_given_to_some_and_to_everybody_again(
    console: Client, catalog: None, alice: Actor, bob: Actor
) -> None:
    save(console, users=[str(alice.user.pk)])
    assert [sees_demo(who) for who in (alice, bob)] == [True, False]
    assert last_audit()["values"]["allowed_users"] == ["", "alice@example.com"]
    save(console, roles=["ADMIN"], organizations=[str(bob.organization.pk)])
    assert [sees_demo(who) for who in (alice, bob)] == [False, True]
    save(console)
    assert [sees_demo(who) for who in (alice, bob)] == [True, True]


def test_the_page_shows_who_has_it_and_finds_others_by_typing(
    console: Client, catalog: None, alice: Actor, bob: Actor
) -> None:
    team = teams.create_team(alice.user, "Wonderland").organization
    save(console, users=[str(alice.user.pk)], organizations=[str(team.pk)], roles=["SUBSCRIBER"])
    url = reverse("admin:catalog_aimodel_change", args=[AIModel.objects.get(slug="demo").pk])
    page = console.get(url).content.decode()
    assert "alice@example.com" in page and "Wonderland" in page and "bob@example.com" not in page
    assert ">some<" in "".join(console.get(reverse("admin:catalog_aimodel_changelist")).content.decode().split())
    for field, term, found in [("user", "bob@", "bob@example.com"), ("organization", "wonder", "Wonderland")]:
        query = {"app_label": "accounts", "model_name": "membership", "field_name": field, "term": term}
        results = console.get(reverse("admin:autocomplete"), query).json()["results"]
        assert [row["text"] for row in results] == [found]


def test_the_api_is_in_the_audit_log_too(ada: Actor, catalog: None, alice: Actor) -> None:
    body = {"users": [str(alice.user.pk)]}
    for _ in range(2):  # the second changes nothing
        ada.client.put("/api/v1/admin/model-access/demo", body, content_type="application/json")
    assert last_audit()["values"] == {"allowed_users": ["", "alice@example.com"]}


@pytest.mark.parametrize("value", [["a", "b"], ("a", "b")])
def test_a_list_is_logged_as_words(value: Any) -> None:
    assert audit_log.facts({"x": (None, value)})["audit"]["values"] == {"x": [None, "a, b"]}
