"""Pods that the level `restricted` of Pod Security lets in, and a little more than it asks.

The level: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Iterator
from typing import Any

from tests.k8s.manifest_rules.reading import (
    WORKLOADS,
    Fault,
    Manifest,
    containers,
    of_kind,
    pod_template,
    title,
)

VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_OF_THE_NODE = ("hostNetwork", "hostPID", "hostIPC")


def faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """What may do more than it must."""
    for one in of_kind(manifests, *WORKLOADS):
        spec = pod_template(one)["spec"]
        yield from (f"{title(one)}: {fault}" for fault in _pod(spec))
        for container in containers(pod_template(one)):
            where = f"{title(one)}: {container['name']}"
            yield from (f"{where}: {fault}" for fault in _container(container))


def _pod(spec: dict[str, Any]) -> Iterator[Fault]:
    if spec.get("automountServiceAccountToken") is not False:
        yield "its pods get the token of a service account"
    for name in _OF_THE_NODE:
        if spec.get(name):
            yield f"it has {name}"
    for volume in spec.get("volumes", []):
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"its volume {volume['name']} is a {kind}"
    yield from _user(spec.get("securityContext", {}))


def _user(context: dict[str, Any]) -> Iterator[Fault]:
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is wanted of the pod"
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        if context.get(key, 0) < 1:
            yield f"{key} is {context.get(key)}, a number that is not root's is wanted"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "it has no seccomp profile"
    if context.get("sysctls"):
        yield "it sets sysctls"


def _container(container: dict[str, Any]) -> Iterator[Fault]:
    context = container.get("securityContext", {})
    if context.get("privileged"):
        yield "it is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "it may gain privileges"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "its root file system can be written"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "it keeps capabilities"
    weaker = {"runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile", "procMount"} & {*context}
    if weaker:
        yield f"it has {sorted(weaker)} of its own: the pod's are the rule"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "it takes a port of the node"
