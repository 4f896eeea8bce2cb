"""Istio's objects, and what its sidecars want of pods."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.k8s.manifest_rules import Fault, Manifest
from tests.k8s.manifest_rules.reading import labels, of_kind, title
from tests.k8s.mesh_rules.pods import (
    GRPC,
    METRICS,
    ControlPlane,
    annotations,
    chosen,
    end_faults,
    ports,
    reach_faults,
    services,
    unknown_account,
)

PLANE = ControlPlane("istio-system", (15012,))
DRAIN_SECONDS = 5.0
"""How long a sidecar stays if nothing is said."""
_GROUP = "security.istio.io"
_PRINCIPAL = re.compile(r"^cluster\.local/ns/([a-z0-9-]+)/sa/([a-z0-9-]+)$")


def faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """Everything that is wrong behind Istio."""
    yield from reach_faults(manifests, PLANE)
    yield from _jobs(manifests)
    for one in services(manifests):
        yield from _pod(manifests, one)
        yield from _metrics(manifests, one)
        if not callers(manifests, labels(one)["app.kubernetes.io/name"]):
            yield f"{title(one)}: nobody may call it"
        if _mode(manifests, one, ports(one)[GRPC]) != "STRICT":
            yield f"{title(one)}: calls need no certificate"
    modes = [
        one["spec"].get("mtls", {}).get("mode")
        for one in _of(manifests, "PeerAuthentication")
        if "selector" not in one["spec"]
    ]
    if modes != ["STRICT"]:
        yield f"the namespace's mode, which sidecars of callers look at, is {modes}"
    for one in _of(manifests, "PeerAuthentication"):
        yield from (f"{title(one)}: {fault}" for fault in _authentication(manifests, one))
    for one in _of(manifests, "AuthorizationPolicy"):
        yield from (f"{title(one)}: {fault}" for fault in _authorization(manifests, one))


def callers(manifests: list[Manifest], service: str) -> set[str]:
    """Who may call a service; see `mesh_rules.callers`."""
    (one,) = [
        one for one in services(manifests) if labels(one)["app.kubernetes.io/name"] == service
    ]
    found: set[str] = set()
    for rule in _rules(manifests, one, ports(one)[GRPC]):
        for source in rule.get("from", [{"source": {"namespaces": ["*"]}}]):
            found |= {f"{space}/*" for space in source["source"].get("namespaces", [])}
            named = map(_PRINCIPAL.match, source["source"].get("principals", []))
            found |= {f"{match[1]}/{match[2]}" for match in named if match}
    return found


def _of(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [one for one in of_kind(manifests, kind) if one["apiVersion"].startswith(_GROUP)]


def _jobs(manifests: list[Manifest]) -> Iterator[Fault]:
    for one in of_kind(manifests, "CronJob"):
        if labels(one).get("sidecar.istio.io/inject") != "false":
            yield f"{title(one)}: a sidecar would keep its pods from ending"


def _pod(manifests: list[Manifest], one: Manifest) -> Iterator[Fault]:
    if labels(one).get("sidecar.istio.io/inject", "true") != "true":
        yield f"{title(one)}: it gets no sidecar"
    config = yaml.safe_load(annotations(one).get("proxy.istio.io/config", "{}"))
    if config.get("holdApplicationUntilProxyStarts") is not True:
        yield f"{title(one)}: it starts before its sidecar, without a network"
    told = config.get("terminationDrainDuration", f"{DRAIN_SECONDS}s")
    yield from end_faults(manifests, one, float(told.removesuffix("s")))


def _metrics(manifests: list[Manifest], one: Manifest) -> Iterator[Fault]:
    """Prometheus has no certificate, and comes to the port that the pod itself names."""
    port = ports(one)[METRICS]
    if _mode(manifests, one, port) != "PERMISSIVE":
        yield f"{title(one)}: metrics need a certificate"
    if not any("from" not in rule for rule in _rules(manifests, one, port)):
        yield f"{title(one)}: nobody without an identity may read metrics"
    if annotations(one).get("prometheus.istio.io/merge-metrics") != "false":
        yield f"{title(one)}: the injector would lead Prometheus to port 15020"


def _mode(manifests: list[Manifest], one: Manifest, port: int) -> str:
    """How a pod's port takes connections: the nearest object that says it counts."""
    found = "PERMISSIVE"
    policies = _of(manifests, "PeerAuthentication")
    for policy in sorted(policies, key=lambda policy: "selector" in policy["spec"]):
        if one in chosen(manifests, policy["spec"].get("selector", {})):
            found = policy["spec"].get("mtls", {}).get("mode", found)
            found = policy["spec"].get("portLevelMtls", {}).get(str(port), {}).get("mode", found)
    return found


def _rules(manifests: list[Manifest], one: Manifest, port: int) -> list[dict[str, Any]]:
    """The rules that let somebody in to a pod's port."""
    return [
        rule
        for policy in _of(manifests, "AuthorizationPolicy")
        if one in chosen(manifests, policy["spec"].get("selector", {}))
        for rule in policy["spec"].get("rules", [])
        if "to" not in rule or str(port) in _ports(rule)
    ]


def _ports(rule: dict[str, Any]) -> list[str]:
    return [port for place in rule.get("to", []) for port in place["operation"].get("ports", [])]


def _authentication(manifests: list[Manifest], one: Manifest) -> Iterator[Fault]:
    spec = one["spec"]
    pods = chosen(manifests, spec.get("selector", {}))
    if not pods:
        yield "it selects no pods"
    if "portLevelMtls" in spec and not spec.get("selector", {}).get("matchLabels"):
        yield "exceptions of ports want a selector"
    known = {str(number) for pod in pods for number in ports(pod).values()}
    for port in spec.get("portLevelMtls", {}).keys() - known:
        yield f"no pod has the port {port}"
    for other in _of(manifests, "PeerAuthentication"):
        both = "selector" in spec and "selector" in other["spec"] and other is not one
        if both and any(pod in chosen(manifests, other["spec"]["selector"]) for pod in pods):
            yield f"pods are also selected by {title(other)}, and only the older one counts"


def _authorization(manifests: list[Manifest], one: Manifest) -> Iterator[Fault]:
    pods = chosen(manifests, one["spec"].get("selector", {}))
    if not pods:
        yield "it selects no pods"
    if one["spec"].get("action", "ALLOW") != "ALLOW":
        yield "only rules that allow are looked at here"
    if not one["spec"].get("rules"):
        yield "it allows nothing"
    known = {str(number) for pod in pods for number in ports(pod).values()}
    open_to_all = {str(ports(pod)[METRICS]) for pod in pods}
    for rule in one["spec"].get("rules", []):
        yield from (f"no pod has the port {port}" for port in {*_ports(rule)} - known)
        if not all("ports" in place["operation"] for place in rule.get("to", [{"operation": {}}])):
            yield "a rule names no ports"
        if not rule.get("from") and not {*_ports(rule)} <= open_to_all:
            yield "everybody is let in"
        for source in rule.get("from", []):
            yield from _source(manifests, source["source"])


def _source(manifests: list[Manifest], source: dict[str, Any]) -> Iterator[Fault]:
    if not source:
        yield "everybody is let in"
    for principal in source.get("principals", []):
        match = _PRINCIPAL.match(principal)
        if match is None:
            yield f"{principal} is no principal"
        else:
            yield from unknown_account(manifests, match[1], match[2])
