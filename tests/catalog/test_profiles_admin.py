"""A provider's profile and quirks on its row: chosen and overridden in the admin, in use with the next request."""

from typing import Any

import pytest
from django.test import Client

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel, Price, Provider
from tests.conftest import Actor


@pytest.fixture
def admin(ada: Actor) -> Client:
    client = Client()
    client.force_login(ada.user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def fields(**changes: Any) -> dict[str, Any]:
    row = {"slug": "local", "kind": "openai_compatible", "enabled": "on", "base_url": "https://api.deepseek.com/v1",
           "api_key_env": "", "extra_headers": "{}", "profile": "", "quirks": "{}"}  # fmt: skip
    return {**row, **changes}


def test_the_profile_in_use_is_seen_and_overridden(admin: Client) -> None:
    assert admin.post("/admin/catalog/provider/add/", fields()).status_code == 302
    row = Provider.objects.get(slug="local")
    Price.objects.create(model=AIModel.objects.create(slug="m", provider=row), request_price=1)
    assert b"deepseek" in admin.get("/admin/catalog/provider/").content
    changed = fields(profile="mistral", quirks='{"stream_options": true, "limit": "max_completion_tokens"}')
    assert admin.post(f"/admin/catalog/provider/{row.pk}/change/", changed).status_code == 302
    assert b"mistral" in admin.get("/admin/catalog/provider/").content
    endpoint = snapshot.current()["m"].provider.endpoint
    assert (endpoint.profile, dict(endpoint.quirks)["limit"]) == ("mistral", "max_completion_tokens")


@pytest.mark.parametrize(
    "address", ["http://[", "https://host:99999/v1", "https://host:x/v1", "ftp://host", "https://me@host"]
)
def test_an_address_that_is_none_is_refused_with_the_mend(address: str, admin: Client) -> None:
    answer = admin.post("/admin/catalog/provider/add/", fields(base_url=address, api_key_env="MINE_API_KEY"))
    assert answer.status_code == 200 and b"Write an address such as https://host/v1" in answer.content


@pytest.mark.parametrize("quirks", ['{"limit": "tokens"}', '{"hosts": ["x"]}', '{"stream_options": "no"}', "[1]"])
def test_a_quirk_that_is_none_is_refused_with_the_mend(quirks: str, admin: Client) -> None:
    answer = admin.post("/admin/catalog/provider/add/", fields(quirks=quirks))
    assert answer.status_code == 200
    assert not Provider.objects.filter(slug="local").exists()


def test_only_servers_of_openai_s_format_have_a_profile(admin: Client) -> None:
    row = fields(slug="gemini", kind="gemini", base_url="", profile="mistral")
    assert admin.post("/admin/catalog/provider/add/", row).status_code == 200
    assert not Provider.objects.filter(slug="gemini", profile="mistral").exists()
