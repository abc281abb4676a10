from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _prompt_cache_is_on(settings: Any) -> None:
    settings.PROMPT_CACHE_TTL = 86_400
