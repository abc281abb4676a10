"""The operator's tools for models: try one, and add those that a provider lists, from nothing to a first answer."""

from typing import Any

import httpx
import pytest
from django.contrib import admin
from django.forms import JSONField
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts.models import User
from aichat.catalog import snapshot
from aichat.catalog.models import AIModel, Price, Provider
from aichat.core.money import CREDIT
from aichat.flags.models import Experiment
from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.generation.test_faults import ask
from tests.upstream import Reply, Upstream
from tests.upstream_answers import ANSWER

LIST = {"object": "list", "data": [{"id": "llama3:8b"}, {"id": "nomic-embed-text"}]}


@pytest.fixture
def ollama(upstream: Upstream, settings: Any) -> Provider:
    """A local server that speaks OpenAI's format and lists two models."""
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    return Provider.objects.create(slug="ollama", kind="openai_compatible", base_url=f"{upstream.address}/v1")


def test_from_a_provider_to_a_first_answer(
    ollama: Provider, upstream: Upstream, console: Client, http: httpx.Client, alice: Actor
) -> None:
    form = console.get(f"/admin/catalog/provider/{ollama.pk}/change/").content.decode()
    fetch = reverse("admin_fetch_models", args=[ollama.pk])
    assert fetch in form
    upstream.plan("openai", Reply("recorded", payload=LIST))
    page = console.get(fetch).content.decode()
    assert 'value="chat llama3:8b"' in page
    assert 'value="embedding nomic-embed-text"' in page
    assert upstream.requests[-1].path == "/v1/models"
    assert upstream.requests[-1].method == "GET"
    answer = console.post(fetch, {"models": ["chat llama3:8b"], "input_price": "0", "output_price": "0.5"}, follow=True)
    assert "Added: llama3:8b." in answer.content.decode()
    model = AIModel.objects.get(slug="llama3:8b")
    tested = console.post(reverse("admin_test_model", args=[model.pk]), follow=True).content.decode()
    assert "llama3:8b answered in" in tested
    assert ANSWER in tested
    assert Price.objects.get(model=model).output_price == CREDIT // 2
    assert ask(http, alice, "llama3:8b", "json").text == ANSWER


def test_a_new_provider_leads_to_the_list_of_its_models(upstream: Upstream, console: Client, settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    upstream.plan("openai", Reply("recorded", payload=LIST))
    form = {"slug": "ollama", "kind": "openai_compatible", "enabled": "on", "base_url": f"{upstream.address}/v1",
            "api_key_env": "", "extra_headers": "{}", "profile": "", "quirks": "{}", "_save": "Save"}  # fmt: skip
    page = console.post("/admin/catalog/provider/add/", form, follow=True).content.decode()
    assert 'value="chat llama3:8b"' in page


def test_a_model_without_a_known_price_needs_one(ollama: Provider, upstream: Upstream, console: Client) -> None:
    upstream.plan("openai", Reply("recorded", payload=LIST))
    page = console.post(
        reverse("admin_fetch_models", args=[ollama.pk]), {"models": ["chat llama3:8b"]}
    ).content.decode()
    assert "llama3:8b has no price" in page
    assert "checked" in page
    assert not AIModel.objects.filter(slug="llama3:8b").exists()


@pytest.mark.parametrize("amount", ["0,5", "1 000", "-1"])
def test_an_ambiguous_price_is_refused(amount: str, ollama: Provider, upstream: Upstream, console: Client) -> None:
    upstream.plan("openai", Reply("recorded", payload=LIST))
    body = {"models": ["chat llama3:8b"], "input_price": amount}
    assert console.post(reverse("admin_fetch_models", args=[ollama.pk]), body).status_code == 200
    assert not AIModel.objects.filter(slug="llama3:8b").exists()


def test_the_library_proposes_the_price_and_it_is_in_force(upstream: Upstream, console: Client) -> None:
    provider = Provider.objects.get(slug="openai")
    upstream.plan("openai", Reply("recorded", payload={"data": [{"id": "gpt-4o"}, {"id": "sora-9"}]}))
    page = console.get(reverse("admin_fetch_models", args=[provider.pk])).content.decode()
    assert " in, " in page
    console.post(reverse("admin_fetch_models", args=[provider.pk]), {"models": ["chat gpt-4o"]})
    assert Price.objects.get(model__slug="gpt-4o").source == Price.LIBRARY
    assert snapshot.current()["gpt-4o"].is_callable


def test_a_name_that_another_provider_has_gets_the_provider_s_before_it(
    ollama: Provider, upstream: Upstream, console: Client
) -> None:
    body = {"models": ["chat demo"], "input_price": "0"}
    console.post(reverse("admin_fetch_models", args=[ollama.pk]), body)
    model = AIModel.objects.get(slug="ollama/demo")
    assert (model.upstream_name, model.provider) == ("demo", ollama)
    console.post(reverse("admin_fetch_models", args=[ollama.pk]), body)
    assert AIModel.objects.filter(provider=ollama).count() == 1


@pytest.mark.parametrize("value", ["chat ", "chat", "dance x", f"chat {'x' * 200}", "chat \ud800", "chat a\0b"])
def test_a_forged_choice_adds_nothing(value: str, ollama: Provider, upstream: Upstream, console: Client) -> None:
    body = {"models": [value.encode("utf-8", "surrogatepass")], "input_price": "0"}
    upstream.always("openai", Reply("recorded", payload=LIST))
    assert console.post(reverse("admin_fetch_models", args=[ollama.pk]), body).status_code in (200, 302)
    assert not AIModel.objects.filter(provider=ollama).exists()


def test_a_test_says_the_exact_reason_and_shows_no_key(upstream: Upstream, console: Client, settings: Any) -> None:
    settings.OPENAI_API_KEY = "sk-proj-very-secret-key-123456"
    model = AIModel.objects.filter(provider__slug="openai", kind="chat").first()
    assert model is not None
    error = {"error": {"message": f"Incorrect API key provided: {settings.OPENAI_API_KEY}", "code": "invalid_api_key"}}
    upstream.plan("openai", Reply("recorded_error", 401, payload=error))
    page = console.post(reverse("admin_test_model", args=[model.pk]), follow=True).content.decode()
    assert "auth_failure" in page
    assert "Incorrect API key provided" in page
    assert settings.OPENAI_API_KEY not in page
    assert "Failing" in page  # its state, at once
    assert not UsageRecord.objects.exists()


def test_a_test_of_a_model_without_a_key_sends_nothing(upstream: Upstream, console: Client, settings: Any) -> None:
    settings.OPENAI_API_KEY = ""
    model = AIModel.objects.filter(provider__slug="openai").first()
    assert model is not None
    page = console.post(reverse("admin_test_model", args=[model.pk]), follow=True).content.decode()
    assert "was not asked (no key)" in page
    assert upstream.requests == []


def test_a_test_that_succeeds_closes_the_breaker(
    upstream: Upstream, console: Client, http: httpx.Client, alice: Actor, settings: Any
) -> None:
    settings.BREAKER_FAILURES, settings.BREAKER_COOLDOWN = 1, 60
    upstream.plan("gemini", Reply("refuse", 500))
    ask(http, alice, "auto", "json")
    assert ask(http, alice, "auto", "json").body["provider"] == "openai"
    model = AIModel.objects.get(slug="gemini-3.8-flash")
    console.post(reverse("admin_test_model", args=[model.pk]))
    assert ask(http, alice, "auto", "json").body["provider"] == "gemini"


def test_every_kind_of_the_demo_can_be_tried(catalog: None, console: Client) -> None:
    for model in AIModel.objects.all():
        page = console.post(reverse("admin_test_model", args=[model.pk]), follow=True).content.decode()
        assert f"{model} answered in" in page


def test_a_list_that_does_not_come_says_why(ollama: Provider, upstream: Upstream, console: Client) -> None:
    upstream.plan("openai", Reply("refuse", 404))
    page = console.get(reverse("admin_fetch_models", args=[ollama.pk])).content.decode()
    assert "gave no list" in page


def test_a_link_tries_nothing(catalog: None, console: Client, alice: Actor) -> None:
    address = reverse("admin_test_model", args=[AIModel.objects.get(slug="demo").pk])
    assert console.get(address).status_code == 405
    stranger = Client()
    stranger.force_login(alice.user, backend="django.contrib.auth.backends.ModelBackend")
    assert stranger.post(address).status_code == 302
    assert (
        console.post(address.replace(address.split("/")[3], "0" * 8 + "-0000-0000-0000-" + "0" * 12)).status_code == 404
    )


def test_no_page_of_the_admin_asks_for_json(catalog: None, console: Client) -> None:
    """A JSON column has a form of its own: rows, lines or boxes to tick."""
    for model, page in admin.site._registry.items():
        request = RequestFactory().get("/")
        request.user = User.objects.get(email="ada@example.com")
        if page.has_add_permission(request):
            fields = page.get_form(request).base_fields
            assert [name for name, field in fields.items() if isinstance(field, JSONField)] == [], model


def test_what_a_server_does_otherwise_is_written_in_rows(ollama: Provider, console: Client) -> None:
    address = f"/admin/catalog/provider/{ollama.pk}/change/"
    assert 'name="quirks-stream_options"' in console.get(address).content.decode()
    form = {"slug": "ollama", "kind": "openai_compatible", "base_url": ollama.base_url, "enabled": "on", "profile": ""}
    rows = {"quirks-limit": "max_tokens", "quirks-stream_options": "false", "quirks-renamed": "seed: random_seed"}
    console.post(address, {**form, **rows, "quirks-call_id_length": "9"})
    ollama.refresh_from_db()
    expected = {"limit": "max_tokens", "stream_options": False, "renamed": {"seed": "random_seed"}, "call_id_length": 9}
    assert ollama.quirks == expected
    page = console.get(address).content.decode()
    assert 'value="seed: random_seed"' in page
    refused = console.post(address, {**form, "quirks-call_id_length": "nine"}).content.decode()
    assert "call_id_length is a number" in refused and 'value="nine"' in refused


def test_variants_are_written_in_rows(catalog: None, console: Client) -> None:
    rows = {"variants-ROWS": "3", "variants-0-name": "control", "variants-0-weight": "40", "variants-1-name": "kind",
            "variants-1-weight": "60", "variants-1-system": "Be kind.", "variants-1-temperature": "0.5"}  # fmt: skip
    form = {"key": "tone", "status": "draft", "unit": "user", "sample_size": "100", "percentage": "100"}
    console.post("/admin/flags/experiment/add/", {**form, **rows})
    kind = {"name": "kind", "weight": 60, "system": "Be kind.", "temperature": 0.5}
    assert Experiment.objects.get().variants == [{"name": "control", "weight": 40}, kind]
    page = console.get(f"/admin/flags/experiment/{Experiment.objects.get().pk}/change/").content.decode()
    assert "Be kind.</textarea>" in page
    refused = console.post(
        "/admin/flags/experiment/add/", {**form, **rows, "key": "other", "variants-0-weight": "half"}
    )
    assert "half" in refused.content.decode() and Experiment.objects.count() == 1
