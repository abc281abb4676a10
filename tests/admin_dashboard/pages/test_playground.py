"""The playground's page and the key of its script."""

from datetime import timedelta

from django.test import Client
from django.utils import timezone

from accounts.models import AccessToken
from tests.conftest import Actor


def test_the_page_offers_what_can_be_called(catalog: None, console: Client) -> None:
    page = console.get("/admin/playground/").content.decode()
    assert ">demo</option>" in page
    assert ">demo-image (pictures)</option>" in page
    assert "demo-speech" not in page


def test_without_a_model_the_page_leads_to_the_reasons(console: Client) -> None:
    assert "No model that chats or makes pictures can be called" in console.get("/admin/playground/").content.decode()


def test_its_key_is_the_operator_s_for_chats_and_pictures_alone(catalog: None, ada: Actor, console: Client) -> None:
    answer = console.post("/admin/playground/key/")
    assert "no-store" in answer["Cache-Control"]
    key = AccessToken.objects.get(name="playground")
    assert (key.user, key.organization, key.scopes) == (ada.user, ada.organization, ["chat", "images"])
    assert key.expiry is not None and key.expiry - timezone.now() <= timedelta(hours=1)
    headers = {"Authorization": f"Bearer {answer.json()['key']}"}
    assert Client().get("/api/v1/admin/users", headers=headers).status_code == 403
    assert Client().get("/api/v1/api-keys", headers=headers).status_code == 403


def test_nobody_else_gets_one(alice: Actor, console: Client) -> None:
    stranger = Client()
    stranger.force_login(alice.user)
    assert stranger.post("/admin/playground/key/").status_code == 302
    assert console.get("/admin/playground/key/").status_code == 405
    assert Client(enforce_csrf_checks=True).post("/admin/playground/key/").status_code in (302, 403)
    assert not AccessToken.objects.filter(name="playground").exists()
