"""What both meshes want of pods: sidecars where they belong, a way to the control plane, an end."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.k8s.manifest_rules import Fault, Manifest, containers, pod_template
from tests.k8s.manifest_rules.reading import SERVING, labels, of_kind, selects, title
from tests.k8s.manifest_rules.settings import config_of

HERE = "corkboard"
"""Our own namespace."""
GRPC, METRICS = "grpc", "metrics"
"""Names of ports: for callers, for Prometheus."""


@dataclass(frozen=True)
class ControlPlane:
    """Where sidecars get their certificates and configuration from."""

    namespace: str
    ports: tuple[int, ...]


def namespace(manifests: list[Manifest]) -> Manifest:
    """The namespace of all that is ours."""
    (found,) = of_kind(manifests, "Namespace")
    return found


def services(manifests: list[Manifest]) -> list[Manifest]:
    """The workloads that are called."""
    return [one for one in of_kind(manifests, *SERVING) if GRPC in ports(one)]


def ports(workload: Manifest) -> dict[str, int]:
    """Numbers of the named ports of a workload's pods."""
    return {
        port["name"]: port["containerPort"]
        for container in containers(pod_template(workload))
        for port in container.get("ports", [])
    }


def annotations(workload: Manifest) -> dict[str, str]:
    """Of the workload's pods."""
    found: dict[str, str] = pod_template(workload)["metadata"].get("annotations", {})
    return found


def chosen(manifests: list[Manifest], selector: Mapping[str, Any]) -> list[Manifest]:
    """The services whose pods a selector chooses."""
    return [one for one in services(manifests) if selects(selector, labels(one))]


def accounts(manifests: list[Manifest]) -> set[str]:
    """The service accounts that pods with a sidecar run under."""
    return {pod_template(one)["spec"]["serviceAccountName"] for one in services(manifests)}


def unknown_account(manifests: list[Manifest], space: str, account: str) -> Iterator[Fault]:
    """An identity of our own namespace that no pod with a sidecar has."""
    if space == HERE and account not in accounts(manifests):
        yield f"no pod with a sidecar runs as {account}"


def reach_faults(manifests: list[Manifest], plane: ControlPlane) -> Iterator[Fault]:
    """Without its control plane a sidecar never becomes ready."""
    for one in services(manifests):
        for port in plane.ports:
            if not _is_let_out(manifests, one, plane.namespace, port):
                yield f"{title(one)}: its sidecar does not reach {plane.namespace} on {port}"


def _is_let_out(manifests: list[Manifest], one: Manifest, space: str, port: int) -> bool:
    """Whether a network policy lets a workload's pods out to every pod of another namespace."""
    return any(
        {"port": port, "protocol": "TCP"} in rule.get("ports", [])
        and {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}}}
        in rule.get("to", [])
        for policy in of_kind(manifests, "NetworkPolicy")
        if selects(policy["spec"]["podSelector"], labels(one))
        for rule in policy["spec"].get("egress", [])
    )


def end_faults(manifests: list[Manifest], one: Manifest, seconds: float) -> Iterator[Fault]:
    """A sidecar that goes too early cuts calls off, one that goes too late is killed."""
    config = config_of(one, manifests)
    drain = config.drain_wait_seconds + config.drain_seconds
    grace = pod_template(one)["spec"].get("terminationGracePeriodSeconds", 30)
    if seconds <= drain:
        yield f"{title(one)}: its sidecar stays {seconds:g} s, its server drains for {drain:g} s"
    if seconds >= grace:
        yield f"{title(one)}: its sidecar stays {seconds:g} s, it is killed after {grace:g} s"
