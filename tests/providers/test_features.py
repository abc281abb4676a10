"""`docs/PROVIDERS.md` says what the adapters do, and nothing is dropped in silence."""

import pytest

from aichat.providers.openai.profiles import PROFILES
from tests.providers import features
from tests.providers.features import DROPPED, FEATURES, KINDS, PASSED, Feature, sent, treatment


def test_the_page_says_what_the_adapters_send() -> None:
    assert features.PAGE.read_text() == features.page(), "run `python -m tests.providers.features`"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_dropped_in_silence(kind: str) -> None:
    for feature in FEATURES:
        if treatment(feature, kind) == DROPPED and not feature.is_silent:
            assert set(sent(feature, kind)[1]) <= set(feature.parameters), feature.title
            assert sent(feature, kind)[1], feature.title


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.title)
def test_every_feature_reaches_somebody(feature: Feature) -> None:
    if feature.title != "`service_tier`":  # would be billed to us at another price
        assert any(treatment(feature, kind) != DROPPED for kind in KINDS)


def test_the_profiles_differ_where_they_say_so() -> None:
    seen = {kind: tuple(treatment(feature, kind) for feature in FEATURES) for kind in PROFILES}
    assert PASSED in seen["openai"]
    assert len(set(seen.values())) >= 9
