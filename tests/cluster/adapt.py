"""Our manifests, as a Kubernetes 1.20 of one machine without a storage provider can take them.

Nothing of a pod changes but the way its probes ask: the cluster that can be built from Debian's
source has neither gRPC probes nor the API versions that came later.
"""

import copy
from pathlib import Path
from typing import Any

from tests.k8s.manifest_rules import Manifest, containers, pod_template

PROBE = Path(__file__).with_name("health_probe.py")
_API_VERSIONS = {
    "PodDisruptionBudget": "policy/v1beta1",
    "HorizontalPodAutoscaler": "autoscaling/v2beta2",
    "CronJob": "batch/v1beta1",
}


def adapted(manifests: list[Manifest], *, image: str, folder: Path) -> list[Manifest]:
    """Take an overlay to 1.20.

    Args:
        manifests: As they were rendered.
        image: What all pods run.
        folder: Volumes are folders in here; made by whoever runs the cluster.
    """
    found = copy.deepcopy(manifests)
    for one in found:
        one["apiVersion"] = _API_VERSIONS.get(one["kind"], one["apiVersion"])
        if one["kind"] == "CronJob":
            one["spec"].pop("timeZone", None)
            one["spec"]["suspend"] = True  # the test runs each once, at its own time
        if one["kind"] in {"Deployment", "StatefulSet", "CronJob"}:
            for container in containers(pod_template(one)):
                container["image"] = image
                _ask_by_command(container)
    return [*found, *_volumes(found, folder)]


def _ask_by_command(container: dict[str, Any]) -> None:
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(kind)
        if probe and "grpc" in probe:
            port = str(probe.pop("grpc")["port"])
            probe["exec"] = {"command": ["python3", "-I", "-S", "-c", PROBE.read_text(), port]}
            probe["timeoutSeconds"] = 10  # starting a process on a busy machine


def _volumes(manifests: list[Manifest], folder: Path) -> list[Manifest]:
    """One volume for each claim, on a folder of this machine."""
    claims = [
        (one["metadata"]["name"], one["spec"])
        for one in manifests
        if one["kind"] == "PersistentVolumeClaim"
    ]
    for one in manifests:
        for template in one["spec"].get("volumeClaimTemplates", []) if "spec" in one else []:
            for number in range(one["spec"]["replicas"]):
                name = f"{template['metadata']['name']}-{one['metadata']['name']}-{number}"
                claims.append((name, template["spec"]))
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"volume-{name}"},
            "spec": {
                "capacity": spec["resources"]["requests"],
                "accessModes": spec["accessModes"],
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": "corkboard", "name": name},
                "hostPath": {"path": str(folder / name)},
            },
        }
        for name, spec in claims
    ]


def job_of(cron_job: Manifest, name: str) -> Manifest:
    """What `kubectl create job NAME --from=cronjob/...` would send."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "corkboard"},
        "spec": copy.deepcopy(cron_job["spec"]["jobTemplate"]["spec"]),
    }
