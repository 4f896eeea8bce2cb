"""What the alerts name is what Prometheus finds: jobs, artifacts, methods, the cluster's names."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from candidate_service.server import ROLES as CANDIDATE_ROLES
from corkboard.doctor.data import WITHOUT
from corkboard.steps import STEPS
from profile_service.server import ROLES as PROFILE_ROLES
from ranking_service.ranker import RANKER_ARTIFACT, STAGED_ARTIFACT
from ranking_service.server import ROLES as RANKING_ROLES
from service_runtime.access import Role
from tests.monitoring.test_prometheus import FOLDER, ROOT, all_rules

BASE = ROOT / "k8s" / "base"
JOBS = {"profile-service", "candidate-service", "ranking-service"}
NAMESPACE: str = yaml.safe_load((BASE / "kustomization.yaml").read_text())["namespace"]
CRON_JOBS = {
    one["metadata"]["name"]: one["spec"]["schedule"]
    for one in yaml.safe_load_all((BASE / "jobs.yaml").read_text())
    if one and one["kind"] == "CronJob"
}


def expression(alert: str) -> str:
    """The expression of an alert."""
    (found,) = [rule["expr"] for rule in all_rules() if rule["alert"] == alert]
    return str(found)


def labels_of(expression: str, label: str) -> set[str]:
    """Every value that a label is compared with, alternatives apart."""
    found = re.findall(rf'\b{label}=~?"([^"]+)"', expression)
    return {value for values in found for value in values.split("|")}


def discovered(name: str, template: dict[str, Any], *, ip: str) -> list[dict[str, Any]]:
    """
    What Prometheus' discovery of pods makes of one, as its documentation has it.

    A target for each port of each container (one without, for a container that names no port), the
    pod's labels and annotations in meta labels. Debian's Prometheus is built without the discovery
    itself, so this stands for it; the relabelling that follows is the real one.
    """
    metadata = template["metadata"]
    known = {"__meta_kubernetes_namespace": NAMESPACE, "__meta_kubernetes_pod_name": name}
    for kind in ("label", "annotation"):
        for key, value in metadata.get(f"{kind}s", {}).items():
            known[f"__meta_kubernetes_pod_{kind}_{re.sub('[^a-zA-Z0-9_]', '_', key)}"] = value
    found = []
    for container in template["spec"]["containers"]:
        labels = {**known, "__meta_kubernetes_pod_container_name": container["name"]}
        for port in container.get("ports", [{}]):
            named = {"__meta_kubernetes_pod_container_port_name": port.get("name", "")}
            address = f"{ip}:{port['containerPort']}" if port else ip
            found.append({"targets": [address], "labels": {**labels, **named}})
    return found


def cluster() -> list[dict[str, Any]]:
    """Two pods of each service as the manifests make them, with a mesh's sidecar, and one job's."""
    sidecar = {"name": "proxy", "ports": [{"name": "http-envoy-prom", "containerPort": 15090}]}
    found = []
    for number, job in enumerate(sorted(JOBS)):
        for workload in yaml.safe_load_all((BASE / f"{job}.yaml").read_text()):
            if not workload or workload["kind"] not in {"Deployment", "StatefulSet"}:
                continue
            template = workload["spec"]["template"]
            template["spec"]["containers"].append(sidecar)
            name = workload["metadata"]["name"]
            for replica in range(2):
                ip = f"10.0.{number}.{replica}"
                found += discovered(f"{name}-{replica}", template, ip=ip)
    defaults = yaml.safe_load((BASE / "job-defaults.yaml").read_text())
    template = defaults["spec"]["jobTemplate"]["spec"]["template"]
    return found + discovered("build-graph-1-x", template, ip="10.0.9.9")


def test_jobs_of_the_alerts_are_those_of_the_shipped_scrape() -> None:
    """A scrape of `corkboard up` names its jobs itself."""
    shipped = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())

    assert {one["job_name"] for one in shipped["scrape_configs"]} == JOBS
    named = [labels_of(rule["expr"], "job") for rule in all_rules()]
    assert set().union(*named) == JOBS
    assert labels_of(expression("CorkboardDown"), "job") == JOBS
    assert labels_of(expression("CorkboardAbsent"), "job") == JOBS


@pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="prometheus is not installed (Debian: apt-get install prometheus)",
)
def test_discovery_of_pods_yields_these_jobs(tmp_path: Path) -> None:
    """Prometheus' own relabelling, of the pods that the manifests make: a page each, by service."""
    shipped = yaml.safe_load((FOLDER / "prometheus-kubernetes.yaml").read_text())
    (scrape,) = shipped["scrape_configs"]
    assert scrape.pop("kubernetes_sd_configs") == [
        {"role": "pod", "namespaces": {"names": [NAMESPACE]}}
    ]
    (tmp_path / "pods.json").write_text(json.dumps(cluster()))
    stood_in = {**scrape, "file_sd_configs": [{"files": ["pods.json"]}]}
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump({"scrape_configs": [stood_in]}))
    command = ["promtool", "check", "service-discovery", "--timeout=4s", "prometheus.yaml"]
    done = subprocess.run(
        [*command, scrape["job_name"]], cwd=tmp_path, check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    targets = [one["labels"] for one in json.loads(done.stdout) if one.get("labels")]
    assert {one["job"] for one in targets} == JOBS
    assert {one["instance"] for one in targets} == {
        f"{job}-{replica}" for job in JOBS for replica in range(2)
    }
    assert len(targets) == 2 * len(JOBS), "one page a pod"
    assert {one["__address__"].partition(":")[2] for one in targets} == {"9101", "9102", "9103"}


def test_every_artifact_has_a_bound_of_age_that_fits_its_job() -> None:
    """36 hours fit what is built every night; a longer bound is for models, none for trials."""
    steps = {step.name.replace("_", "-"): step.makes for step in STEPS if step.makes}
    exempt = labels_of(
        expression("CorkboardDataOld").partition(" or ")[0].replace("!~", "=~"), "artifact"
    )
    hourly = {name for name, schedule in CRON_JOBS.items() if schedule.split()[1] == "*"}

    assert set(steps) <= set(CRON_JOBS)
    assert exempt == {RANKER_ARTIFACT, STAGED_ARTIFACT}
    assert all(schedule.split()[2:] == ["*", "*", "*"] for schedule in CRON_JOBS.values())
    assert {name for job in hourly & set(steps) for name in steps[job]} == labels_of(
        expression("CorkboardFreshOld"), "artifact"
    )
    assert hourly & set(steps) == labels_of(expression("CorkboardFreshOld"), "cronjob")


def test_what_must_not_be_missing_is_what_the_doctor_misses() -> None:
    """One list of what answers are poorer without."""
    missing = labels_of(expression("CorkboardNeverBuilt"), "artifact")
    missing |= labels_of(expression("CorkboardGenerationMissing"), "artifact")

    assert missing == set(WITHOUT)


def test_methods_that_write_are_all_watched() -> None:
    """A new writing method must not be refused in silence."""
    roles = {**PROFILE_ROLES, **CANDIDATE_ROLES, **RANKING_ROLES}
    writing = {method for method, role in roles.items() if role is not Role.READER}

    watched = labels_of(expression("CorkboardWritesRefused"), "method")

    assert watched == writing - {"GetErasure"}


def test_jobs_are_looked_for_in_our_namespace() -> None:
    """Where kustomize puts them."""
    for alert in ("CorkboardJobFailed", "CorkboardFreshOld"):
        assert labels_of(expression(alert), "namespace") == {NAMESPACE}
