"""The state of providers and models, as the admin, the dashboard and the list of models show it."""

from typing import Any

import httpx
import pytest
from django.test import Client

from aichat.catalog import snapshot, state
from aichat.catalog.editing import with_prices
from aichat.catalog.models import AIModel, Price, Provider
from tests.conftest import Actor
from tests.generation.test_faults import ask
from tests.upstream import Reply, Upstream

GEMINI = "gemini-3.8-flash"


@pytest.fixture
def admin(ada: Actor) -> Client:
    client = Client()
    client.force_login(ada.user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def local(**fields: Any) -> AIModel:
    row = {"slug": "local", "kind": "openai_compatible", "base_url": "https://api.example.com/v1", **fields}
    model = AIModel.objects.create(slug="llama", provider=Provider.objects.create(**row))
    Price.objects.create(model=model, request_price=1)
    snapshot.forget()
    return model


def condition(slug: str = "llama") -> state.Condition:
    (found,) = state.of_models(with_prices(AIModel.objects.filter(slug=slug))).values()
    return found


def listed(actor: Actor) -> list[str]:
    return [model["id"] for model in actor.get("/v1/models").json()["data"]]


def test_a_model_with_all_it_needs_is_ready(db: None) -> None:
    local()
    assert condition() == state.READY


def test_a_model_without_its_key_names_the_variable(
    db: None, alice: Actor, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    local(api_key_env="LOCAL_API_KEY")
    assert condition().state == "no key"
    assert "LOCAL_API_KEY is not set" in condition().reason
    assert "llama" not in listed(alice)
    page = admin.get("/admin/catalog/aimodel/").content.decode()
    assert "LOCAL_API_KEY is not set" in page
    assert "icon-yes" not in page
    monkeypatch.setenv("LOCAL_API_KEY", "secret")
    snapshot.forget()
    assert condition() == state.READY
    assert "llama" in listed(alice)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:11434/v1",
        "http://localhost:11434/v1",
        "http://[::1]/v1",
        "http://ollama/v1",
        "http://a.internal",
    ],
)
def test_a_private_address_names_the_setting_and_is_not_offered(
    address: str, db: None, alice: Actor, settings: Any
) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    local(base_url=address)
    assert condition().state == "private address"
    assert "ALLOW_PRIVATE_UPSTREAMS" in condition().reason
    assert "llama" not in listed(alice)
    assert alice.get("/v1/models/llama").status_code == 404
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    snapshot.forget()
    assert condition() == state.READY
    assert "llama" in listed(alice)


def test_what_is_switched_off_says_which_of_the_two(db: None) -> None:
    model = local()
    Provider.objects.update(enabled=False)
    assert condition() == state.Condition(state.State.OFF, "Its provider local is switched off.")
    Provider.objects.update(enabled=True)
    AIModel.objects.filter(pk=model.pk).update(enabled=False)
    assert condition().state == "switched off"
    assert not condition().is_problem


def test_a_model_without_a_price_says_so(db: None) -> None:
    local()
    Price.objects.all().delete()
    assert condition().state == "no price"


def test_saving_a_provider_that_can_t_be_called_warns_at_once(db: None, admin: Client, settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    row = {"slug": "ollama", "kind": "openai_compatible", "enabled": "on", "base_url": "http://localhost:11434/v1",
           "api_key_env": "", "extra_headers": "{}", "profile": "", "quirks": "{}"}  # fmt: skip
    page = admin.post("/admin/catalog/provider/add/", row, follow=True).content.decode()
    assert "ollama can&#x27;t be called now (private address)" in page
    assert "ALLOW_PRIVATE_UPSTREAMS=true" in page


def test_a_provider_s_list_and_form_show_its_state(db: None, admin: Client) -> None:
    model = local(api_key_env="LOCAL_API_KEY")
    for address in ("", f"{model.provider_id}/change/"):
        assert "LOCAL_API_KEY is not set" in admin.get(f"/admin/catalog/provider/{address}").content.decode()


def test_a_provider_without_models_is_not_ready(db: None) -> None:
    Provider.objects.create(slug="empty", kind="openai_compatible", base_url="https://api.example.com/v1")
    (found,) = state.of_providers(Provider.objects.filter(slug="empty").prefetch_related("models")).values()
    assert found.state == "no models"


# --- What requests met ------------------------------------------------------------------------------------------------


def test_a_failure_is_shown_with_its_time_and_words_until_a_success(
    upstream: Upstream, http: httpx.Client, alice: Actor
) -> None:
    upstream.plan("gemini", Reply("refuse", 401))
    ask(http, alice, "auto", "json")
    found = condition(GEMINI)
    assert found.state == "failing"
    assert "It refused the key" in found.reason
    assert "UTC" in found.reason
    assert ask(http, alice, "auto", "json").body["provider"] == "gemini"
    assert condition(GEMINI) == state.READY


def test_an_open_breaker_is_shown_with_its_wait(
    upstream: Upstream, http: httpx.Client, alice: Actor, settings: Any
) -> None:
    settings.BREAKER_FAILURES, settings.BREAKER_COOLDOWN = 1, 60
    upstream.always("gemini", Reply("refuse", 500))
    ask(http, alice, "auto", "json")
    found = condition(GEMINI)
    assert found.state == "left alone"
    assert found.reason.startswith("For another ")


def test_a_refused_prompt_is_no_failure_and_its_words_are_not_kept(
    upstream: Upstream, http: httpx.Client, alice: Actor
) -> None:
    upstream.plan("gemini", Reply("refuse", 400))
    ask(http, alice, GEMINI, "json")
    assert condition(GEMINI) == state.READY


def test_the_dashboard_names_what_can_t_be_called(alice: Actor, admin: Client, usage_record: Any) -> None:
    usage_record(alice)
    local(api_key_env="LOCAL_API_KEY")
    page = admin.get("/admin/").content.decode()
    assert "llama: no key. LOCAL_API_KEY is not set" in page
