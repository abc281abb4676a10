"""The alert rules and dashboards of `docs/monitoring/` ask for what there is: series of `/metrics`, names of StatsD."""

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.test import Client

from aichat.core.background.batch_queue import BatchQueue
from aichat.core.telemetry import prometheus, statsd
from aichat.core.telemetry.measurements import AttemptEnded, RequestEnded
from tests.test_docs import DOCS

FILES = DOCS / "monitoring"
REQUEST = RequestEnded(method="GET", route="", status=500, seconds=0.1)
ATTEMPT = AttemptEnded(
    kind="chat", provider="demo", model="demo", outcome="ok", final=True, seconds=1, first_token_seconds=0.1,
    input_tokens=1, output_tokens=1, images=1, charged=1,
)  # fmt: skip
OF_PROMETHEUS = {"le", "instance"}  # labels that are not the product's own


@pytest.fixture
def series(transactional_db: None, client: Client, catalog: None) -> dict[str, set[str]]:
    """The labels of each series, by its name, once everything has been counted."""
    prometheus.count(REQUEST)
    prometheus.count(ATTEMPT)
    prometheus.batch("commits", 1, 0.1)
    BatchQueue("a test's", lambda batch: None)._drop(1)
    found: dict[str, set[str]] = {}
    prometheus.prompt_cache("hit")
    prometheus.saved(1, 1)
    for line in client.get("/metrics").content.decode().splitlines():
        if named := re.match(r"((?:aichat|gen_ai_client)_\w+)(?:\{(.*)\})? ", line):
            found.setdefault(named[1], set()).update(re.findall(r'(\w+)="', named[2] or ""))
    return found


def asked() -> Iterator[tuple[str, str, str]]:
    """The name of each alert and panel, its expression and its text with labels."""
    for rule in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"][0]["rules"]:
        yield rule["alert"], rule["expr"], rule["annotations"]["summary"]
    for panel in json.loads((FILES / "grafana.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]


def problems(expression: str, text: str, series: dict[str, set[str]]) -> Iterator[str]:
    """What an expression asks for that is not there."""
    labels = set(OF_PROMETHEUS)
    names = re.findall(r"((?:aichat|gen_ai_client)_\w+)(?:\{([^}]*)\})?", expression)
    if not names:
        yield "no series"
    for name, matchers in names:
        if name not in series:
            yield name
        labels |= series.get(name, set())
        yield from set(re.findall(r"(\w+)[=!]~?", matchers)) - series.get(name, set())
    for grouped in re.findall(r"(?:by|ignoring) \(([^)]*)\)", expression):
        yield from set(grouped.split(", ")) - labels
    yield from set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text)) - labels


def test_alerts_and_panels_ask_for_series_that_exist(series: dict[str, set[str]]) -> None:
    found = {title: [*problems(expression, text, series)] for title, expression, text in asked()}
    assert len(found) > 40
    assert {title: missing for title, missing in found.items() if missing} == {}


def test_every_metric_is_on_the_dashboard(series: dict[str, set[str]]) -> None:
    shown = " ".join(expression for _, expression, _ in asked())
    kinds = {re.sub(r"_(total|created|bucket|sum|count)$", "", name) for name in series}
    unshown = {"aichat_prompt_cache_stored", "aichat_prompt_cache_stored_bytes"}
    assert {name for name in kinds - unshown if name not in shown} == set()


def test_the_datadog_dashboard_asks_for_what_statsd_sends() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))
        agent.settimeout(5)
        statsd.Exporter(*agent.getsockname()).send([REQUEST, ATTEMPT])
        lines = agent.recv(65_536).decode().split()
    tags: dict[str, set[str]] = {}
    for line in lines:
        name, kind, sent = re.fullmatch(r"([\w.]+):[^|]+\|(\w+)\|#(.*)", line).groups()  # type: ignore[union-attr]
        for suffix in ("",) if kind == "c" else (".median", ".95percentile"):  # what an Agent makes of a timing
            tags[name + suffix] = {tag.partition(":")[0] for tag in sent.split(",")}
    dashboard: dict[str, Any] = json.loads((FILES / "datadog.json").read_text())
    queries = [
        query["query"]
        for widget in dashboard["widgets"]
        for request in widget["definition"]["requests"]
        for query in request["queries"]
    ]
    for query in queries:
        name, scope, grouped = re.match(r"\w+:([\w.]+)\{(.*?)\}(?: by \{(.*?)\})?", query).groups()  # type: ignore[union-attr]
        used = {part.lstrip("!").partition(":")[0] for part in scope.split(",") if not part.startswith("$")}
        assert name in tags, name
        assert used | set((grouped or "").split(",")) - {""} <= tags[name], query
    assert {query.split("{")[0].partition(":")[2] for query in queries} >= {
        name for name in tags if ".median" not in name
    }
