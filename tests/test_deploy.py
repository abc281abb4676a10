"""The files that containers are run by name settings, paths and commands of the product, and give it time to end."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import rest_framework
import yaml
from django.conf import settings
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
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
OF_GUNICORN = {"FORWARDED_ALLOW_IPS"}


def test_their_variables_are_settings() -> None:
    of_pods = next(found for found in OBJECTS if found["kind"] == "ConfigMap")["data"]
    named = {*COMPOSE["app"]["environment"], *COMPOSE["worker"]["environment"], *of_pods}
    assert named - env.NAMES == OF_GUNICORN


def test_the_proxy_alone_can_be_reached_and_reaches_the_app() -> None:
    assert [name for name, service in COMPOSE.items() if "ports" in service] == ["proxy"]
    site = (ROOT / "deploy" / "Caddyfile").read_text()
    assert f"app:{COMPOSE['app']['environment']['PORT']}" in site
    assert "flush_interval -1" in site


def test_probes_ask_for_paths_and_commands_are_there() -> None:
    web = CONTAINERS["aichat-web"]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert resolve(web[kind]["httpGet"]["path"])
    commands = [container["command"] for container in CONTAINERS.values()] + [COMPOSE["worker"]["command"].split()]
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
    assert seconds_to_stop("app") > drain
    of_a_worker = PODS["aichat-image-worker"]["terminationGracePeriodSeconds"], seconds_to_stop("worker")
    assert min(of_a_worker) > 240  # IMAGE_TOTAL_TIMEOUT


def test_units_of_systemd_start_what_there_is_and_let_it_end() -> None:
    drain = int(re.findall(r"^graceful_timeout = (\d+)", (ROOT / "gunicorn.conf.py").read_text(), re.MULTILINE)[0])
    for name, least in (("aichat", drain), ("aichat-images", 240)):  # IMAGE_TOTAL_TIMEOUT
        unit = dict(
            re.findall(r"^(\w+)=(.*)$", (ROOT / "deploy/systemd" / f"{name}.service").read_text(), re.MULTILINE)
        )
        commands = [unit[key].split() for key in ("ExecStartPre", "ExecStart") if key in unit]
        assert {command[2] for command in commands if command[1] == "manage.py"} <= get_commands().keys()
        assert {command[0].removeprefix(unit["WorkingDirectory"]) for command in commands} <= {
            "/.venv/bin/python",
            "/.venv/bin/gunicorn",
        }
        assert int(unit["TimeoutStopSec"]) > least


def seconds_to_stop(service: str) -> int:
    return int(COMPOSE[service]["stop_grace_period"].removesuffix("s"))


def test_the_image_keeps_the_translations_of_the_products_languages() -> None:
    kept = re.findall(r"! -path '\*/(\w+)/\*'", (ROOT / "Dockerfile").read_text())
    assert kept == [code for code, _ in settings.LANGUAGES]


def test_what_the_image_leaves_out_is_where_it_is_looked_for() -> None:
    steps = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    left_out = re.findall(r"rm -rf (.*?)&& find", steps)[0].split()
    packages = Path(rest_framework.__file__).parents[1]
    of_linux = ("PIL/", "pillow.libs/")
    assert [path for path in left_out if not path.startswith(of_linux) and not [*packages.glob(path)]] == []


def rendered(*words: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What the chart makes, by kind and name."""
    command = ["helm", "template", "aichat", str(ROOT / "deploy" / "helm"), "--kube-version", "1.31", *words]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {(found["kind"], found["metadata"]["name"]): found for found in yaml.safe_load_all(made) if found}


@pytest.mark.skipif(not shutil.which("helm"), reason="helm is not installed")
def test_the_chart_changes_the_manifests_by_its_values_alone() -> None:
    made = rendered()
    assert made.keys() == {(found["kind"], found["metadata"]["name"]) for found in OBJECTS}
    for found in OBJECTS:
        mine = made[found["kind"], found["metadata"]["name"]]
        assert mine.get("data") == found.get("data")
        if "template" not in found.get("spec", {}):
            assert mine.get("spec") == found.get("spec")
            continue
        pod, container = mine["spec"]["template"]["spec"], mine["spec"]["template"]["spec"]["containers"][0]
        plain = CONTAINERS[found["metadata"]["name"]]
        assert {**pod, "containers": []} == {**PODS[found["metadata"]["name"]], "containers": []}
        changed = {"image", "env", "envFrom"}
        assert {name: container[name] for name in container.keys() - changed} == {
            name: plain[name] for name in plain.keys() - changed
        }
        assert container["envFrom"][-1] == {"secretRef": {"name": "aichat"}}
    job = made["Job", "aichat-migrate"]["spec"]["template"]["spec"]["containers"][0]
    assert {each["name"]: each["value"] for each in job["env"]} == made["ConfigMap", "aichat"]["data"]

    fewer = rendered(
        "--set", "web.autoscaling.enabled=false,web.replicas=1,imageWorker.replicas=0,secret=other,image.tag=1.2.3"
    )
    assert ("HorizontalPodAutoscaler", "aichat-web") not in fewer
    web, worker = fewer["Deployment", "aichat-web"]["spec"], fewer["Deployment", "aichat-image-worker"]["spec"]
    assert (web["replicas"], worker["replicas"]) == (1, 0)
    container = web["template"]["spec"]["containers"][0]
    assert container["image"].endswith(":1.2.3") and container["envFrom"][-1] == {"secretRef": {"name": "other"}}
    with pytest.raises(subprocess.CalledProcessError):
        rendered("--set", "web.replica=1")
