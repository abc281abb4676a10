"""A model that is renamed goes on to answer under its old name, and what knows it by that follows."""

from typing import Any

import httpx
import pytest

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel
from aichat.flags import evaluation
from aichat.flags.models import Experiment
from aichat.usage.models import UsageRecord
from aichat.usage.queries import sums
from aichat.usage.windows import Window
from tests.conftest import Actor
from tests.generation.test_faults import MODELS, ask
from tests.upstream import Reply, Upstream
from tests.upstream_answers import ANSWER

OLD, NEW = MODELS["openai"], "house-model"


@pytest.fixture
def rename(http: httpx.Client, ada: Actor, upstream: Upstream) -> None:
    """An operator renames the model by the admin API."""
    ask(http, ada, OLD, "json")
    answer = http.patch(f"/api/v1/admin/models/{OLD}", json={"slug": NEW, "upstream_name": OLD}, headers=ada.headers)
    assert answer.status_code == 200, answer.text


@pytest.mark.usefixtures("rename")
def test_a_client_that_asks_by_the_old_name_is_answered_by_the_renamed_model(http: httpx.Client, ada: Actor) -> None:
    seen = ask(http, ada, OLD, "json")
    assert (seen.text, seen.body["model"]) == (ANSWER, NEW)
    assert http.get(f"/v1/models/{OLD}", headers=ada.headers).status_code == 200
    listed = [model["id"] for model in http.get("/v1/models", headers=ada.headers).json()["data"]]
    assert NEW in listed and OLD not in listed


@pytest.mark.usefixtures("rename")
def test_a_renamed_model_stays_a_fallback_of_others(http: httpx.Client, ada: Actor, upstream: Upstream) -> None:
    AIModel.objects.filter(slug=MODELS["gemini"]).update(fallbacks=[OLD])
    snapshot.forget()
    upstream.always("gemini", Reply("refuse", 500))
    assert ask(http, ada, MODELS["gemini"], "json").body["model"] == NEW


@pytest.mark.usefixtures("rename")
def test_figures_of_before_a_rename_are_found_under_the_new_name(http: httpx.Client, ada: Actor) -> None:
    ask(http, ada, NEW, "json")
    by_model = sums(Window.last_days(1), ["model"])
    assert {key: figures.requests for key, figures in by_model.items()} == {(NEW,): 2}
    assert sums(Window.last_days(1), model=NEW)[()].requests == 2
    assert set(UsageRecord.objects.values_list("model", flat=True)) == {OLD, NEW}


@pytest.mark.usefixtures("rename")
@pytest.mark.parametrize("name", [OLD, NEW])
def test_figures_of_a_renamed_model_stay_together_once_it_is_disabled(
    http: httpx.Client, ada: Actor, name: str
) -> None:
    ask(http, ada, NEW, "json")
    AIModel.objects.filter(slug=NEW).update(enabled=False)
    snapshot.forget()
    assert OLD not in snapshot.current()
    by_model = sums(Window.last_days(1), ["model"])
    assert {key: figures.requests for key, figures in by_model.items()} == {(NEW,): 2}
    assert sums(Window.last_days(1), model=name)[()].requests == 2


@pytest.mark.usefixtures("rename")
@pytest.mark.parametrize("name", [OLD, NEW])
def test_an_experiment_about_a_renamed_model_goes_on(http: httpx.Client, ada: Actor, name: str) -> None:
    variants: list[dict[str, Any]] = [{"name": "a", "weight": 100, "temperature": 1}, {"name": "b", "weight": 0}]
    Experiment.objects.create(key="warmth", status="running", variants=variants, requested_models=[OLD])
    evaluation.forget()
    assert ask(http, ada, name, "json").body["model"] == NEW
    assert UsageRecord.objects.order_by("-created_at")[0].experiment == "warmth"


def test_a_model_renamed_back_has_one_alias(catalog: None) -> None:
    model = AIModel.objects.get(slug="demo")
    for slug in ("demo-2", "demo"):
        model.slug = slug
        model.save()
    snapshot.forget()
    assert snapshot.current()["demo-2"].slug == "demo"
    assert AIModel.objects.get(slug="demo").aliases == ["demo-2"]
