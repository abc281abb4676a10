"""The alert rules of `docs/monitoring/` ask for series that `/metrics` has."""

import re
from typing import Any

import pytest
import yaml
from django.test import Client

from aichat.core.telemetry import prometheus
from aichat.core.telemetry.measurements import AttemptEnded, RequestEnded
from tests.test_docs import DOCS

RULES = yaml.safe_load((DOCS / "monitoring" / "alerts.yaml").read_text())["groups"][0]["rules"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_series_that_exist(rule: dict[str, Any], client: Client, db: None) -> None:
    prometheus.count(RequestEnded(method="GET", route="", status=500, seconds=0.1))
    prometheus.count(AttemptEnded(kind="chat", provider="demo", model="demo", outcome="ok", final=True, seconds=1))
    text = client.get("/metrics").content.decode()
    asked = re.findall(r"(aichat_\w+)(?:\{(\w+)[=!])?", rule["expr"])
    assert asked
    for name, label in asked:
        series = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
        assert series and f'{label}="' in series[0] if label else series
    for grouped in re.findall(r"by \(([^)]*)\)", rule["expr"]):
        for label in grouped.split(", "):
            assert re.search(rf'^{asked[0][0]}\{{.*\b{label}="', text, re.MULTILINE)
