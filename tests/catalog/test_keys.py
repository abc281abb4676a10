"""A provider's key belongs to its provider: an administrator can't have it sent to a server of theirs."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from aichat.catalog import snapshot
from aichat.catalog.models import Provider
from tests.conftest import Actor


def provider(slug: str, **fields: Any) -> Provider:
    facts = {"kind": "openai_compatible", "base_url": "https://mine.example/v1", **fields}
    return Provider(slug=slug, **facts)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "GEMINI_API_KEY", "ANTHROPIC_API_KEY", "POSTHOG_API_KEY"])
def test_a_key_of_a_setting_can_t_be_named_by_a_row(db: None, name: str) -> None:
    with pytest.raises(ValidationError, match="is a setting's"):
        provider("mine", api_key_env=name).full_clean()


def test_a_row_that_names_one_all_the_same_is_sent_nothing(
    db: None, catalog: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    row = provider("mine", api_key_env="OPENAI_API_KEY")
    row.save()
    assert "sk-secret" not in repr(snapshot.provider_info(row))


def test_a_key_of_another_provider_can_t_be_named(db: None) -> None:
    provider("router", base_url="https://openrouter.ai/api/v1", api_key_env="ROUTER_API_KEY").save()
    with pytest.raises(ValidationError, match="belongs to another provider"):
        provider("mine", api_key_env="ROUTER_API_KEY").full_clean()


def test_a_key_does_not_move_with_its_row_to_another_address(db: None) -> None:
    row = provider("router", base_url="https://openrouter.ai/api/v1", api_key_env="ROUTER_API_KEY")
    row.save()
    row.base_url = "https://openrouter.ai/api/v2"
    row.full_clean()
    row.base_url = "https://mine.example/v1"
    with pytest.raises(ValidationError, match="name another variable"):
        row.full_clean()
    row.api_key_env = "MY_API_KEY"
    row.full_clean()


ROUTER = {"base_url": "https://openrouter.ai/api/v1", "api_key_env": "ROUTER_API_KEY"}


def test_a_key_stays_with_its_address_when_its_row_is_deleted(db: None) -> None:
    row = provider("router", **ROUTER)
    row.save()
    row.delete()
    with pytest.raises(ValidationError, match="also by a new row"):
        provider("mine", api_key_env="ROUTER_API_KEY").full_clean()
    provider("router", **ROUTER).full_clean()


def test_a_key_stays_with_its_address_when_its_row_names_another(db: None) -> None:
    row = provider("router", **ROUTER)
    row.save()
    row.api_key_env = "OTHER_API_KEY"
    row.save()
    with pytest.raises(ValidationError, match="also by a new row"):
        provider("mine", api_key_env="ROUTER_API_KEY").full_clean()


def test_of_two_rows_that_were_checked_at_once_one_has_the_key(db: None) -> None:
    mine = provider("mine", api_key_env="ROUTER_API_KEY")
    mine.full_clean()
    provider("router", **ROUTER).save()
    with pytest.raises(ValidationError, match="also by a new row"):
        mine.save()
    assert not Provider.objects.filter(slug="mine").exists()


def test_an_administrator_who_deletes_a_provider_has_its_key_sent_nowhere_else(ada: Actor) -> None:
    pages = Client()
    pages.force_login(ada.user, backend="django.contrib.auth.backends.ModelBackend")
    form = {"kind": "openai_compatible", "enabled": "on", "extra_headers": "{}", "profile": "", "quirks": "{}"}
    assert pages.post("/admin/catalog/provider/add/", {**form, "slug": "router", **ROUTER}).status_code == 302
    row = Provider.objects.get(slug="router")
    assert pages.post(f"/admin/catalog/provider/{row.pk}/delete/", {"post": "yes"}).status_code == 302
    mine = {"slug": "mine", "base_url": "https://mine.example/v1", "api_key_env": "ROUTER_API_KEY"}
    answer = pages.post("/admin/catalog/provider/add/", {**form, **mine})
    assert answer.status_code == 200 and b"name another variable" in answer.content
    assert not Provider.objects.filter(slug__in=["router", "mine"]).exists()
