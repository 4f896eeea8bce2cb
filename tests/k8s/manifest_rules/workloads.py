"""Workloads: they select their own pods, can be updated, end in time, own their folders."""

from collections.abc import Iterator
from typing import Any

from tests.k8s.manifest_rules.reading import (
    SERVING,
    WORKLOADS,
    Fault,
    Manifest,
    labels,
    names,
    of_kind,
    pod_template,
    title,
)

DNS_SECONDS = 30
"""How old an answer of CoreDNS may be, as kubeadm sets it up."""


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
        yield from (f"{title(one)}: {fault}" for fault in _nested_places(spec))


def _serving(one: Manifest, manifests: list[Manifest]) -> Iterator[Fault]:
    wanted = one["spec"]["selector"]["matchLabels"]
    if not wanted.items() <= labels(one).items():
        yield f"{title(one)}: selector {wanted} does not select its own pods {labels(one)}"
    rollout = one["spec"].get("strategy", {}).get("rollingUpdate", {})
    if {str(rollout.get(key)) for key in ("maxUnavailable", "maxSurge")} <= {"0", "0%"}:
        yield f"{title(one)}: maxUnavailable and maxSurge are both 0, so it can never be updated"
    if one["kind"] == "Deployment" and one["spec"].get("minReadySeconds", 0) <= DNS_SECONDS:
        yield f"{title(one)}: replaced faster than names are, minReadySeconds > {DNS_SECONDS}"
    governing = one["spec"].get("serviceName")
    if one["kind"] == "StatefulSet" and governing not in names(manifests, "Service"):
        yield f"{title(one)}: there is no Service {governing}"


def _nested_places(spec: dict[str, Any]) -> Iterator[Fault]:
    """A place inside another volume must be made by our user, or the run-time makes it as root."""
    made = {place for one in spec.get("initContainers", []) for place in one.get("command", [])[2:]}
    for container in spec["containers"]:
        paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        for path in paths:
            if any(path.startswith(f"{outer}/") for outer in paths) and path not in made:
                yield f"no init container makes {path}, so root would own it and what is around it"
