"""The files that containers are run by name settings, paths and commands of the product, and give it time to end."""

import re
from typing import Any

import yaml
from django.core.management import get_commands
from django.urls import resolve

from aichat.core.config import env
from tests.test_docs import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
OBJECTS: list[dict[str, Any]] = [
    found
    for file in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    for found in yaml.safe_load_all((FOLDER / file).read_text())
]
PODS: dict[str, dict[str, Any]] = {
    found["metadata"]["name"]: found["spec"]["template"]["spec"]
    for found in OBJECTS
    if "template" in found.get("spec", {})
}
CONTAINERS = {name: pod["containers"][0] for name, pod in PODS.items()}
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["app"]


def test_their_variables_are_settings() -> None:
    named = {*COMPOSE["environment"], *next(found for found in OBJECTS if found["kind"] == "ConfigMap")["data"]}
    assert named - env.NAMES == set()


def test_probes_ask_for_paths_and_commands_are_there() -> None:
    web = CONTAINERS["aichat-web"]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert resolve(web[kind]["httpGet"]["path"])
    commands = [container["command"] for container in CONTAINERS.values()]
    assert {command[2] for command in commands if "manage.py" in command} <= get_commands().keys()


def test_pods_write_to_their_own_folders_alone_and_are_nobody_special() -> None:
    for name, pod in PODS.items():
        own = CONTAINERS[name]["securityContext"]
        assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"]
        assert own["capabilities"]["drop"] == ["ALL"]
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
        assert {mount["mountPath"] for mount in CONTAINERS[name]["volumeMounts"]} == {"/tmp", "/data"}


def test_running_requests_and_pictures_may_end() -> None:
    drain = int(re.findall(r"^graceful_timeout = (\d+)", (ROOT / "gunicorn.conf.py").read_text(), re.MULTILINE)[0])
    before = int(CONTAINERS["aichat-web"]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert PODS["aichat-web"]["terminationGracePeriodSeconds"] > drain + before
    assert int(COMPOSE["stop_grace_period"].removesuffix("s")) > drain
    assert PODS["aichat-image-worker"]["terminationGracePeriodSeconds"] > 240  # IMAGE_TOTAL_TIMEOUT
