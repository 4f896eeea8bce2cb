"""The manifests as they are rendered: schema, references, settings, order of jobs, hardening."""

import copy
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from candidate_service.config import CandidateConfig
from corkboard.steps import STEPS
from profile_service.config import ProfileConfig
from ranking_service.config import RankingConfig
from service_runtime.config import load_config
from tests.k8s.manifest_rules import Manifest, containers, faults, pod_template
from tests.k8s.rendered import OVERLAYS, manifests

Breakage = Callable[[list[Manifest]], None]
VERSIONS = ("1.27", "1.36")
"""The oldest and the newest Kubernetes that is promised: gRPC probes are stable from 1.27 on."""
CONFIGS = {
    "profile_service": ProfileConfig,
    "candidate_service": CandidateConfig,
    "ranking_service": RankingConfig,
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_schema_of_every_promised_version_holds(overlay: str, version: str, tmp_path: Path) -> None:
    """No unknown field, no wrong type, no removed API; the mesh's kinds have no schema here."""
    path = tmp_path / "rendered.yaml"
    path.write_text(
        yaml.safe_dump_all(
            one
            for one in manifests(overlay)
            if not re.search(r"istio\.io|linkerd\.io", one["apiVersion"])
        )
    )
    checked = subprocess.run(
        [
            str(Path(sys.executable).with_name("kubernetes-validate")),
            "--strict",
            "-k",
            version,
            path,
        ],
        check=False,
        capture_output=True,
        text=True,
    )

    told = checked.stdout + checked.stderr
    assert checked.returncode == 0, told
    assert "WARN" not in told
    assert "ERROR" not in told


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_leads_nowhere(overlay: str) -> None:
    """Selectors, names, ports, claims, limits and rollouts fit together."""
    assert faults(manifests(overlay)) == []


def _find(found: list[Manifest], kind: str, name: str = "ranking-service") -> Manifest:
    return next(one for one in found if (one["kind"], one["metadata"]["name"]) == (kind, name))


def _breaks(kind: str, path: str, to: object, name: str = "ranking-service") -> Breakage:
    """Break one object: set what is at a path of words, or remove it (None)."""

    def breaks(found: list[Manifest]) -> None:
        *upper, last = [int(word) if word.isdigit() else word for word in path.split()]
        place: Any = _find(found, kind, name)
        for word in upper:
            place = place[word]
        if to is None:
            del place[last]
        else:
            place[last] = to

    return breaks


def _deployment(path: str, to: object) -> Breakage:
    return _breaks("Deployment", f"spec {path}", to)


def _pod(path: str, to: object) -> Breakage:
    return _deployment(f"template spec {path}", to)


def _server(path: str, to: object) -> Breakage:
    return _pod(f"containers 0 {path}", to)


def _scaler(path: str, to: object) -> Breakage:
    return _breaks("HorizontalPodAutoscaler", f"spec {path}", to)


def _budget(path: str, to: object) -> Breakage:
    return _breaks("PodDisruptionBudget", f"spec {path}", to)


def _policy(path: str, to: object) -> Breakage:
    return _breaks("NetworkPolicy", f"spec ingress 0 ports 0 {path}", to)


_NO_CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "x"}}
_JOB_VOLUMES = "spec jobTemplate spec template spec volumes"
BROKEN = {
    "selector misses its pods": _deployment("selector matchLabels app.kubernetes.io/name", "x"),
    "rollout that cannot move": _deployment("strategy rollingUpdate maxSurge", 0),
    "replaced faster than names are": _deployment("minReadySeconds", 0),
    "missing account": _pod("serviceAccountName", "x"),
    "token mounted": _pod("automountServiceAccountToken", to=True),
    "service links": _pod("enableServiceLinks", None),
    "killed while draining": _pod("terminationGracePeriodSeconds", 5),
    "claim that is not there": _pod("volumes 0", _NO_CLAIM),
    "memory request above limit": _server("resources requests memory", "64Gi"),
    "quantity that is none": _server("resources limits memory", "2GB"),
    "no limits": _server("resources", {}),
    "two probe handlers": _server("readinessProbe tcpSocket", {"port": 50053}),
    "probe of a foreign port": _server("livenessProbe grpc port", 8080),
    "liveness success threshold": _server("livenessProbe successThreshold", 2),
    "missing readiness": _server("readinessProbe", None),
    "mount without volume": _server("volumeMounts 0 name", "nowhere"),
    "place of a nested volume left to root": _breaks(
        "StatefulSet", "spec template spec initContainers", None, "profile-service"
    ),
    "missing settings": _server("envFrom 0 configMapRef name", "x"),
    "privileged": _server("securityContext privileged", to=True),
    "writable root": _server("securityContext readOnlyRootFilesystem", to=False),
    "capabilities": _server("securityContext capabilities", {"drop": ["NET_RAW"]}),
    "long port name": _server("ports 0 name", "grpc-of-ranking-service"),
    "service selects nothing": _breaks("Service", "spec selector", {"app": "x"}),
    "service port typo": _breaks("Service", "spec ports 0 targetPort", "gprc"),
    "foreign namespace": _breaks("Service", "metadata namespace", "default"),
    "missing governing service": _breaks("StatefulSet", "spec serviceName", "x", "profile-service"),
    "both fields of a budget": _budget("minAvailable", 1),
    "budget for nobody": _budget("selector matchLabels", {"a": "b"}),
    "scaler upside down": _scaler("minReplicas", 99),
    "scaler of nothing": _scaler("scaleTargetRef name", "x"),
    "scaler against replicas": _deployment("replicas", 2),
    "policy of an unknown protocol": _policy("protocol", "GRPC"),
    "policy of an unknown port": _policy("port", "http"),
    "job without its volume": _breaks("CronJob", _JOB_VOLUMES, [], "build-catalogue"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_mistake_is_found(name: str) -> None:
    """The rules are worth their name: one mistake, at least one fault."""
    found = copy.deepcopy(manifests("production"))
    BROKEN[name](found)

    assert faults(found)


def test_every_setting_is_one() -> None:
    """Names and values of the ConfigMap are read by the services' own loader, without a fault."""
    found = manifests("production")
    settings = next(one["data"] for one in found if one["kind"] == "ConfigMap")
    assert settings["CORKBOARD_DATA_ROOT"] == "/data"
    for service, config_class in CONFIGS.items():
        kind = "StatefulSet" if service == "profile_service" else "Deployment"
        template = pod_template(_find(found, kind, service.replace("_", "-")))
        server = next(one for one in containers(template) if one["name"] == "server")
        environment = dict(settings) | {
            entry["name"]: entry.get("value", "pod-0") for entry in server.get("env", [])
        }
        config = load_config(config_class, environment=environment)

        ports = {port["name"]: port["containerPort"] for port in server["ports"]}
        assert ports == {"grpc": config.port, "metrics": config.metrics_port}
        assert server["args"] == [service]


def _minute_of_day(schedule: str) -> int:
    """When a job runs, in minutes since midnight; its last run for one that runs every hour."""
    minute, hour = schedule.split()[:2]
    return int(minute) + 60 * (23 if hour == "*" else int(hour))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_job_has_its_hour_after_those_it_needs(overlay: str) -> None:
    """Each step of the pipeline is a CronJob, and none starts before what it reads was built."""
    jobs = {
        containers(pod_template(one))[0]["args"][0]: one["spec"]["schedule"]
        for one in manifests(overlay)
        if one["kind"] == "CronJob"
    }
    minutes = {module: _minute_of_day(schedule) for module, schedule in jobs.items()}
    module_of = {step.name: step.module for step in STEPS}
    exported_by_its_service = {"profile_service.jobs.export_actions"}

    assert {*module_of.values()} - exported_by_its_service <= {*jobs}
    for step in STEPS:
        for before in step.after:
            if module_of[before] not in exported_by_its_service:
                assert minutes[module_of[before]] < minutes[step.module], (before, step.name)


def test_only_ranking_and_writers_reach_the_others() -> None:
    """The star of the architecture holds on the network too."""
    found = manifests("production")
    default = _find(found, "NetworkPolicy", "nothing-by-default")
    assert default["spec"]["podSelector"] == {}
    assert set(default["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    for name in ("profile-service", "candidate-service"):
        policy = _find(found, "NetworkPolicy", name)
        sources = [
            source["podSelector"]["matchLabels"] for source in policy["spec"]["ingress"][0]["from"]
        ]

        assert sources == [
            {"app.kubernetes.io/name": "ranking-service"},
            {"corkboard/writer": "true"},
        ]
