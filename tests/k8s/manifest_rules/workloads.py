"""Workloads: they select their own pods, can be updated, end in time, own their folders."""

from collections.abc import Iterator
from typing import Any

from tests.k8s.manifest_rules.reading import (
    SERVING,
    WORKLOADS,
    Fault,
    Manifest,
    containers,
    labels,
    names,
    of_kind,
    pod_template,
    title,
)

DNS_SECONDS = 30
"""How old an answer of CoreDNS may be, as kubeadm sets it up."""
POD_LABELS = frozenset({"app.kubernetes.io/name", "app.kubernetes.io/part-of"})


def faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """What is wrong with workloads as such."""
    for one in of_kind(manifests, *SERVING):
        yield from _serving(one, manifests)
    for one in of_kind(manifests, *WORKLOADS):
        spec = pod_template(one)["spec"]
        if spec.get("serviceAccountName") not in names(manifests, "ServiceAccount"):
            yield f"{title(one)}: there is no ServiceAccount {spec.get('serviceAccountName')}"
        if spec.get("enableServiceLinks") is not False:
            yield f"{title(one)}: service links would set PROFILE_SERVICE_PORT and its like"
        missing = POD_LABELS - labels(one).keys()
        if missing:
            yield f"{title(one)}: network policies choose by {sorted(missing)}, its pods have none"
        for container in containers(pod_template(one)):
            if not container.get("image"):
                yield f"{title(one)}: {container['name']} has no image"
        yield from (f"{title(one)}: {fault}" for fault in _nested_places(spec))


def _serving(one: Manifest, manifests: list[Manifest]) -> Iterator[Fault]:
    wanted = one["spec"]["selector"]["matchLabels"]
    if not wanted or not wanted.items() <= labels(one).items():
        yield f"{title(one)}: selector {wanted} does not select its own pods {labels(one)}"
    rollout = one["spec"].get("strategy", {}).get("rollingUpdate", {})
    if {str(rollout.get(key)) for key in ("maxUnavailable", "maxSurge")} <= {"0", "0%"}:
        yield f"{title(one)}: maxUnavailable and maxSurge are both 0, so it can never be updated"
    if one["kind"] == "Deployment" and str(rollout.get("maxUnavailable")) not in {"0", "0%"}:
        yield f"{title(one)}: an update takes pods away before others are ready, maxUnavailable 0"
    if one["kind"] == "Deployment" and one["spec"].get("minReadySeconds", 0) <= DNS_SECONDS:
        yield f"{title(one)}: replaced faster than names are, minReadySeconds > {DNS_SECONDS}"
    governing = one["spec"].get("serviceName")
    if one["kind"] == "StatefulSet" and governing not in names(manifests, "Service"):
        yield f"{title(one)}: there is no Service {governing}"
    if one["kind"] == "StatefulSet" and one["spec"].get("replicas", 1) != 1:
        yield f"{title(one)}: each of its pods would keep actions of its own, one is wanted"


def _nested_places(spec: dict[str, Any]) -> Iterator[Fault]:
    """A place inside another volume must be made by our user, or the run-time makes it as root."""
    made = {
        place
        for one in spec.get("initContainers", [])
        for place in one.get("command", [])[2:]
        if any(place.startswith(f"{mount['mountPath']}/") for mount in one.get("volumeMounts", []))
    }
    for container in spec["containers"]:
        paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        for path in paths:
            if any(path.startswith(f"{outer}/") for outer in paths) and path not in made:
                yield f"no init container makes {path}, so root would own it and what is around it"
