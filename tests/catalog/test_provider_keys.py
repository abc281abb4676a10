"""Several keys of a provider: they take turns, a bad one rests, and an entered one is stored where nobody reads it."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel, Price, Provider, ProviderKey
from aichat.generation import key_ring
from aichat.providers import registry
from tests.conftest import Actor
from tests.generation.test_faults import ask
from tests.upstream import Recorded, Reply, Upstream

SECRET = "sk-entered-0123456789"


@pytest.fixture(autouse=True)
def _all_awake() -> Iterator[None]:
    key_ring.forget()
    yield
    key_ring.forget()


@pytest.fixture
def admin(ada: Actor) -> Client:
    client = Client()
    client.force_login(ada.user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def provider(upstream: Upstream, settings: Any) -> Provider:
    """A server that wants a key and has none yet, with one model."""
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    row = Provider.objects.create(slug="router", kind="openai_compatible", base_url=f"{upstream.address}/v1")
    Price.objects.create(model=AIModel.objects.create(slug="llama", provider=row), request_price=1)
    snapshot.forget()
    return row


@pytest.fixture
def give(provider: Provider) -> Callable[..., ProviderKey]:
    def give(key: str, **fields: Any) -> ProviderKey:
        row = ProviderKey(name=f"key {key}", **fields)
        row.give(provider, key=key)
        snapshot.forget()
        return row

    return give


def used(upstream: Upstream) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in upstream.asked("openai")]


def refusing(key: str, reply: Reply) -> Callable[[Recorded], Reply]:
    return lambda request: reply if request.headers["authorization"] == f"Bearer {key}" else Reply()


def form(provider: Provider, *keys: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The provider's form with these rows of keys, those with an `id` being there already."""
    row = {"slug": provider.slug, "kind": provider.kind, "enabled": "on", "base_url": provider.base_url,
           "api_key_env": "", "extra_headers": "{}", "profile": "", "quirks": "{}"}  # fmt: skip
    there = sum("id" in key for key in keys)
    body = {**row, "keys-TOTAL_FORMS": len(keys), "keys-INITIAL_FORMS": there, **changes}
    for number, key in enumerate(keys):
        given = {"name": f"key {number}", "weight": 1, "enabled": "on", **key}
        body |= {f"keys-{number}-{name}": value for name, value in given.items()}
    return body


def page_of(provider: Provider) -> str:
    return f"/admin/catalog/provider/{provider.pk}/change/"


def test_keys_take_turns_by_their_weights(
    give: Callable[..., ProviderKey], upstream: Upstream, http: httpx.Client, alice: Actor
) -> None:
    give("a", weight=2), give("b")
    give("c", enabled=False)
    for _ in range(6):
        assert ask(http, alice, "llama", "json").status == 200
    assert used(upstream) == ["a", "b", "a", "a", "b", "a"]


@pytest.mark.parametrize("mode", ["json", "stream"])
@pytest.mark.parametrize("status", [401, 429])
def test_a_bad_key_rests_and_the_next_answers_at_once(
    mode: str, status: int, give: Callable[..., ProviderKey], provider: Provider, upstream: Upstream,
    http: httpx.Client, alice: Actor, admin: Client,
) -> None:  # fmt: skip
    give("bad", weight=5), give("good")
    upstream.choose = refusing("bad", Reply("refuse", status))
    for _ in range(3):
        seen = ask(http, alice, "llama", mode)
        assert (seen.status, seen.body["model"], seen.body["fallback"]) == (200, "llama", False)
    assert used(upstream) == ["bad", "good", "good", "good"]
    page = admin.get(page_of(provider)).content.decode()
    assert page.count("rests until") == 1
    assert "in use" in page


def test_a_request_that_all_keys_fail_ends_and_the_one_that_rests_least_is_tried_again(
    give: Callable[..., ProviderKey], upstream: Upstream, http: httpx.Client, alice: Actor
) -> None:
    give("a"), give("b")
    upstream.plan("openai", Reply("refuse", 401), Reply("refuse", 429))
    assert ask(http, alice, "llama", "json").status != 200
    assert ask(http, alice, "llama", "json").status == 200
    assert used(upstream) == ["a", "b", "b"]


def test_another_failure_tries_no_other_key(
    give: Callable[..., ProviderKey], upstream: Upstream, http: httpx.Client, alice: Actor
) -> None:
    give("a"), give("b")
    upstream.plan("openai", Reply("refuse", 500))
    assert ask(http, alice, "llama", "json").status != 200
    assert used(upstream) == ["a"]


# --- In the admin -----------------------------------------------------------------------------------------------------


def test_an_entered_key_is_sent_and_is_read_nowhere(
    provider: Provider, upstream: Upstream, http: httpx.Client, alice: Actor, admin: Client
) -> None:
    saved = admin.post(page_of(provider), form(provider, {"key": SECRET}), follow=True)
    row = ProviderKey.objects.get()
    assert SECRET not in row.secret
    pages = [saved.content.decode(), admin.get(page_of(provider)).content.decode()]
    pages += [str(list(LogEntry.objects.values())), repr(snapshot.current()["llama"])]
    assert not [page for page in pages if SECRET in page or row.secret in page]
    assert ask(http, alice, "llama", "json").status == 200
    assert used(upstream) == [SECRET]
    renamed = form(provider, {"id": row.pk, "name": "renamed"})
    renamed["keys-0-key"] = ""
    admin.post(page_of(provider), renamed)
    assert ProviderKey.objects.get().name == "renamed"
    assert ask(http, alice, "llama", "json").status == 200
    assert used(upstream)[-1] == SECRET


def test_a_key_is_not_sent_to_another_address_than_it_was_given_for(provider: Provider, admin: Client) -> None:
    admin.post(page_of(provider), form(provider, {"key": SECRET}))
    row = ProviderKey.objects.get()
    moved = form(provider, {"id": row.pk}, base_url="https://elsewhere.example.com/v1")
    page = admin.post(page_of(provider), moved, follow=True).content.decode()
    assert "it was given for http://127.0.0.1" in page
    assert SECRET not in repr(snapshot.provider_info(Provider.objects.get(pk=provider.pk)).endpoint.api_key)
    admin.post(page_of(provider), {**moved, "keys-0-key": "another"})
    assert snapshot.provider_info(Provider.objects.get(pk=provider.pk)).endpoint.api_key == "another"


def test_a_variable_s_key_is_sent_to_one_address_for_ever(
    provider: Provider, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROUTER_API_KEY", SECRET)
    admin.post(page_of(provider), form(provider, {"variable": "ROUTER_API_KEY"}))
    assert snapshot.provider_info(Provider.objects.get(pk=provider.pk)).endpoint.api_key == SECRET
    thief = Provider.objects.create(slug="thief", kind="openai_compatible", base_url="https://thief.example.com/v1")
    page = admin.post(page_of(thief), form(thief, {"variable": "ROUTER_API_KEY"})).content.decode()
    assert "in use already" in page
    ProviderKey.objects.all().delete()
    page = admin.post(page_of(thief), form(thief, {"variable": "ROUTER_API_KEY"})).content.decode()
    assert "ROUTER_API_KEY is sent to http://127.0.0.1" in page
    own = form(thief, api_key_env="ROUTER_API_KEY")
    assert "is sent to http://127.0.0.1" in admin.post(page_of(thief), own).content.decode()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ({}, "Enter the key, or name its variable."),
        ({"key": "x", "variable": "ROUTER_API_KEY"}, "not both"),
        ({"variable": "OPENAI_API_KEY"}, "is a setting"),
        ({"variable": "DATABASE_URL"}, "ends in _API_KEY"),
        ({"key": "two words"}, "without spaces"),
        ({"key": "line\r\nX-Evil: 1"}, "without spaces"),
        ({"key": "x" * 501}, "at most 500"),
        ({"key": "x", "weight": 0}, "greater than or equal to 1"),
    ],
)
def test_a_key_that_can_t_be_one_is_refused_with_the_mend(
    key: dict[str, Any], words: str, provider: Provider, admin: Client
) -> None:
    assert words in admin.post(page_of(provider), form(provider, key)).content.decode()
    assert not ProviderKey.objects.exists()


def test_a_key_outlives_a_new_encryption_key_and_says_when_it_can_t_be_read(
    give: Callable[..., ProviderKey], provider: Provider, settings: Any
) -> None:
    row = give(SECRET)
    settings.FIELD_ENCRYPTION_KEY = "given later, and long enough for this check"
    assert row.value_for(provider) == SECRET
    settings.SECRET_KEY = "another, and as long as a secret has to be here"
    assert row.value_for(provider) == ""
    assert "enter it again" in row.obstacle(provider)


def test_a_vendor_s_key_entered_in_the_admin_brings_its_models(db: None, admin: Client, alice: Actor) -> None:
    openai = Provider(slug="openai", kind="openai", base_url="")
    page = admin.post("/admin/catalog/provider/add/", form(openai, {"key": SECRET}), follow=True).content.decode()
    assert "Added its current models" in page
    assert registry.VENDORS["openai"].models[0].slug in [
        model["id"] for model in alice.get("/v1/models").json()["data"]
    ]


def test_registration_is_open_by_default_until_a_provider_has_a_key(
    provider: Provider, give: Callable[..., ProviderKey], admin: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sign_up(name: str) -> int:
        body = {"email": f"{name}@example.com", "password": "correct horse battery staple"}
        return Client().post("/api/v1/auth/register", body, content_type="application/json").status_code

    settings.REGISTRATION_OPEN = None
    settings.OPENAI_API_KEY = settings.GEMINI_API_KEY = ""
    assert sign_up("first") == 201
    key = give(SECRET)
    assert sign_up("second") == 403
    key.delete()
    monkeypatch.setenv("ROUTER_API_KEY", SECRET)
    Provider.objects.filter(pk=provider.pk).update(api_key_env="ROUTER_API_KEY")
    assert sign_up("third") == 403
    settings.REGISTRATION_OPEN = True
    assert sign_up("fourth") == 201
