"""A provider's key belongs to its provider: an administrator can't have it sent to a server of theirs."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from aichat.catalog import snapshot
from aichat.catalog.models import Provider


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
    assert "sk-secret" not in repr(snapshot._provider(row))


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
