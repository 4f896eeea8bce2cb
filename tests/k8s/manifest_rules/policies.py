"""Network policies: who reaches whom, worked out as the network would.

One table says what must pass and one what must not; between them there is no room for a rule that
opens more than it was meant to, or for one that shuts out who was promised a way in.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from tests.k8s.manifest_rules.reading import (
    WORKLOADS,
    Fault,
    Manifest,
    containers,
    labels,
    of_kind,
    pod_template,
    selects,
    title,
)

HERE = "corkboard"
SERVICES = ("profile-service", "candidate-service", "ranking-service")
_NAMESPACE = "kubernetes.io/metadata.name"
_NAME = "app.kubernetes.io/name"
CALLERS = ({"corkboard/client": "true"}, {"corkboard/writer": "true"})
"""Labels that callers give their pods (docs/kubernetes.md)."""
NAMESPACES = frozenset(
    {
        "kube-system",
        "openshift-dns",
        "monitoring",
        "observability",
        "istio-system",
        "linkerd",
        "linkerd-viz",
    }
)
"""Namespaces that are not ours and that a policy may name."""
DNS = (
    ("kube-system", {"k8s-app": "kube-dns"}, 53),
    ("openshift-dns", {"dns.operator.openshift.io/daemonset-dns": "default"}, 5353),
)
NODE_LOCAL_DNS = "169.254.20.10"


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod, or an address (`namespace` is "").

    Attributes:
        name: For a fault.
        ports: The numbers of its named ports.
    """

    name: str
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    address: str = "10.1.2.3"


def faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """Ways that are open and should not be, are shut and should not be, or lead to nobody."""
    yield from _defaults(manifests)
    ends = _ends(manifests)
    for one in of_kind(manifests, "NetworkPolicy"):
        yield from (f"{title(one)}: {fault}" for fault in _policy(one, ends))
    missing = [one for one in SERVICES if one not in ends or "grpc" not in ends[one].ports]
    if missing:
        yield f"no pods of {missing} have a port grpc"
        return
    for source, target, port, protocol in _promised(ends):
        if not passes(manifests, source, target, port, protocol):
            yield f"{source.name} does not reach {target.name} on {port}/{protocol}"
    for source, target, port in _forbidden(ends):  # either side's policies alone must refuse
        door = _Door(target, port, "TCP")
        if target.namespace == HERE and _comes_in(manifests, source, door):
            yield f"{source.name} reaches {target.name} on {port}"
        if source.namespace == HERE and _goes_out(manifests, source, door):
            yield f"{source.name} goes out to {target.name} on {port}"


def passes(
    manifests: list[Manifest], source: End, target: End, port: int, protocol: str = "TCP"
) -> bool:
    """Whether the policies of both sides let a connection through."""
    door = _Door(target, port, protocol)
    return _goes_out(manifests, source, door) and _comes_in(manifests, source, door)


def _goes_out(manifests: list[Manifest], source: End, door: "_Door") -> bool:
    return _lets(manifests, "Egress", source, door.target, door)


def _comes_in(manifests: list[Manifest], source: End, door: "_Door") -> bool:
    return _lets(manifests, "Ingress", door.target, source, door)


@dataclass(frozen=True)
class _Door:
    """Where a connection ends."""

    target: End
    port: int
    protocol: str

    def fits(self, rule: dict[str, Any]) -> bool:
        return not rule.get("ports") or any(self._is(one) for one in rule["ports"])

    def _is(self, one: dict[str, Any]) -> bool:
        if one.get("protocol", "TCP") != self.protocol:
            return False
        wanted = one.get("port", self.port)
        if isinstance(wanted, str):
            return self.target.ports.get(wanted) == self.port
        return bool(wanted <= self.port <= one.get("endPort", wanted))


def _lets(manifests: list[Manifest], way: str, own: End, other: End, door: _Door) -> bool:
    if own.namespace != HERE:
        return True
    chosen = [
        one["spec"]
        for one in of_kind(manifests, "NetworkPolicy")
        if way in _types(one["spec"]) and selects(one["spec"]["podSelector"], own.labels)
    ]
    rules = [rule for spec in chosen for rule in spec.get(way.lower(), [])]
    peers = "from" if way == "Ingress" else "to"
    return not chosen or any(
        door.fits(rule)
        and (not rule.get(peers) or any(_is_peer(peer, other) for peer in rule[peers]))
        for rule in rules
    )


def _types(spec: dict[str, Any]) -> list[str]:
    implied = ["Ingress", "Egress"] if "egress" in spec else ["Ingress"]
    found: list[str] = spec.get("policyTypes", implied)
    return found


def _is_peer(peer: dict[str, Any], end: End) -> bool:
    if "ipBlock" in peer:
        block, address = peer["ipBlock"], ipaddress.ip_address(end.address)
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(
            address in ipaddress.ip_network(one) for one in block.get("except", [])
        )
    if not end.namespace:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {_NAMESPACE: end.namespace}):
            return False
    elif end.namespace != HERE:
        return False
    return selects(peer.get("podSelector", {}), end.labels)


def _ends(manifests: list[Manifest]) -> dict[str, End]:
    """Our own pods, by the name in their labels."""
    found = {}
    for one in of_kind(manifests, *WORKLOADS):
        ports = {
            port["name"]: port["containerPort"]
            for container in containers(pod_template(one))
            for port in container.get("ports", [])
        }
        name = labels(one).get(_NAME, "")
        found[name] = End(name, HERE, labels(one), ports)
    return found


def _defaults(manifests: list[Manifest]) -> Iterator[Fault]:
    """What is not let in or out by name stays where it is, for pods that nobody thought of too."""
    stranger = End("a pod without labels", HERE)
    for way in ("Ingress", "Egress"):
        if not any(
            way in _types(one["spec"])
            and selects(one["spec"]["podSelector"], stranger.labels)
            and not one["spec"].get(way.lower())
            for one in of_kind(manifests, "NetworkPolicy")
        ):
            yield f"{way} is open by default"


def _promised(ends: dict[str, End]) -> Iterator[tuple[End, End, int, str]]:
    ranking = ends["ranking-service"]
    client, writer = (End(f"a pod with {label}", "shop", label) for label in CALLERS)
    yield client, ranking, ranking.ports["grpc"], "TCP"
    for name in ("profile-service", "candidate-service"):
        yield ranking, ends[name], ends[name].ports["grpc"], "TCP"
        yield writer, ends[name], ends[name].ports["grpc"], "TCP"
    for end in ends.values():
        if "metrics" in end.ports:
            yield End("Prometheus", "monitoring"), end, end.ports["metrics"], "TCP"
        for protocol in ("UDP", "TCP"):
            for namespace, label, port in DNS:
                yield end, End(f"DNS of {namespace}", namespace, label), port, protocol
            yield end, End("NodeLocal DNSCache", address=NODE_LOCAL_DNS), 53, protocol


def _forbidden(ends: dict[str, End]) -> Iterator[tuple[End, End, int]]:
    """Ways in and between us, and ways out to others, that no component of ours opens."""
    client, writer = (End(f"a pod with {label}", "shop", label) for label in CALLERS)
    strangers = [End("a foreign pod", "shop"), End("an address", address="203.0.113.7")]
    strangers += [End("a pod of ours without labels", HERE), End("Prometheus", "monitoring")]
    serving = {name: end for name, end in ends.items() if "grpc" in end.ports}
    others = {name: end for name, end in ends.items() if name not in serving}
    callers = [end for end in others.values() if any(_is_caller(end, label) for label in CALLERS)]
    strangers_of_ours = [end for end in others.values() if end not in callers]
    for end in serving.values():
        for stranger, port in product([*strangers, *strangers_of_ours], [*end.ports.values(), 22]):
            if (stranger.name, port) != ("Prometheus", end.ports["metrics"]):
                yield stranger, end, port
        for caller, port in product((client, writer, *callers), (end.ports["metrics"], 22)):
            yield caller, end, port
    for name in ("profile-service", "candidate-service"):
        yield client, ends[name], ends[name].ports["grpc"]
    yield writer, ends["ranking-service"], ends["ranking-service"].ports["grpc"]
    for source, target in product(serving.values(), serving.values()):
        if source.name != "ranking-service" or target.name == "ranking-service":
            yield source, target, target.ports["grpc"]
        yield source, target, target.ports["metrics"]
    for source in ends.values():
        for target in (*strangers[:2], End("a pod of kube-system", "kube-system")):
            yield source, target, 53
            yield source, target, 5432
        yield source, End("a pod of openshift-dns", "openshift-dns"), 5353
        yield source, End("a machine's keys", address="169.254.169.254"), 80


def _is_caller(end: End, label: dict[str, str]) -> bool:
    return label.items() <= end.labels.items()


def _policy(one: Manifest, ends: dict[str, End]) -> Iterator[Fault]:
    """What is well-formed and says nothing, or says everything."""
    spec = one["spec"]
    for found in _chosen_names(spec["podSelector"]) - ends.keys():
        yield f"it selects no pods: there is no {found}"
    if spec["podSelector"] and not any(
        selects(spec["podSelector"], end.labels) for end in ends.values()
    ):
        yield "it selects no pods"
    for way, peers in (("ingress", "from"), ("egress", "to")):
        for rule in spec.get(way, []):
            if not rule.get(peers) or not rule.get("ports"):
                yield f"a rule of {way} is open: it names no peers or no ports"
            for peer in rule.get(peers, []):
                if not _is_known(peer, ends):
                    yield f"nobody of ours, no caller and no known namespace is {peer}"
            yield from _ports(rule, {name for end in ends.values() for name in end.ports})


def _ports(rule: dict[str, Any], names: set[str]) -> Iterator[Fault]:
    for port in rule.get("ports", []):
        if port.get("protocol", "TCP") not in {"TCP", "UDP", "SCTP"}:
            yield f"{port['protocol']} is no protocol"
        if "port" not in port:
            yield "all ports are open"
        if isinstance(port.get("port"), str) and port["port"] not in names:
            yield f"no container has a port {port['port']}"


def _chosen_names(selector: dict[str, Any]) -> set[str]:
    found = {selector.get("matchLabels", {}).get(_NAME)} - {None}
    for one in selector.get("matchExpressions", []):
        if one["key"] == _NAME:
            found |= {*one.get("values", [])}
    return {str(one) for one in found}


def _is_known(peer: dict[str, Any], ends: dict[str, End]) -> bool:
    if "ipBlock" in peer:
        return True
    pods, namespaces = peer.get("podSelector", {}), peer.get("namespaceSelector")
    if namespaces is None:
        known = not _chosen_names(pods) - ends.keys()
        return known and any(selects(pods, end.labels) for end in ends.values())
    if namespaces.get("matchLabels", {}).get(_NAMESPACE) in NAMESPACES:
        return True
    named = pods.get("matchLabels", {}).items()
    known = any(label.items() <= named for label in CALLERS)
    return namespaces == {} and known
