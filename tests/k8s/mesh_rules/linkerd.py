"""Linkerd's objects, and what its sidecars want of pods."""

import re
from collections.abc import Iterator
from typing import Any

from tests.k8s.manifest_rules import Fault, Manifest, containers, pod_template, quantity
from tests.k8s.manifest_rules.reading import labels, of_kind, selects, title
from tests.k8s.mesh_rules.pods import (
    GRPC,
    HERE,
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

PLANE = ControlPlane("linkerd", (8080, 8086, 8090))
PROXY_PORT = 4143
"""Where calls between meshed pods arrive, whatever port they are for."""
_GROUP = "policy.linkerd.io"
_NETWORK, _MESH = "NetworkAuthentication", "MeshTLSAuthentication"
_WAIT = "config.alpha.linkerd.io/proxy-wait-before-exit-seconds"
_NATIVE = [f"config.{stage}.linkerd.io/proxy-enable-native-sidecar" for stage in ("alpha", "beta")]
_CPU = "config.linkerd.io/proxy-cpu-request"
_IDENTITY = re.compile(r"^([a-z0-9-]+|\*)\.([a-z0-9-]+)\.serviceaccount\.identity\.")


def faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """Everything that is wrong behind Linkerd."""
    yield from reach_faults(manifests, PLANE)
    yield from _jobs(manifests)
    yield from _network(manifests)
    for one in services(manifests):
        yield from (f"{title(one)}: {fault}" for fault in _pod(manifests, one))
        yield from _way_out(manifests, one)
        if not callers(manifests, labels(one)["app.kubernetes.io/name"]):
            yield f"{title(one)}: nobody may call it"
    for one in _of(manifests, "Server"):
        yield from (f"{title(one)}: {fault}" for fault in _server(manifests, one))
    for one in _of(manifests, "AuthorizationPolicy"):
        yield from (f"{title(one)}: {fault}" for fault in _policy(manifests, one))
    for one in _of(manifests, _MESH):
        yield from (f"{title(one)}: {fault}" for fault in _identities(manifests, one))


def callers(manifests: list[Manifest], service: str) -> set[str]:
    """Who may call a service; see `mesh_rules.callers`."""
    (one,) = [
        one for one in services(manifests) if labels(one)["app.kubernetes.io/name"] == service
    ]
    found: set[str] = set()
    for policy in _policies(manifests, one, GRPC):
        wanted = {_reference["name"] for _reference in _references(policy)}
        for authentication in _of(manifests, _MESH):
            if authentication["metadata"]["name"] in wanted:
                found |= {f"{space}/{name}" for space, name in _named(authentication)}
    return found


def _of(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [one for one in of_kind(manifests, kind) if one["apiVersion"].startswith(_GROUP)]


def _references(policy: Manifest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = policy["spec"]["requiredAuthenticationRefs"]
    return found


def _named(authentication: Manifest) -> Iterator[tuple[str, str]]:
    """Namespace and account of each identity; `*` for all of a namespace."""
    for one in authentication["spec"].get("identityRefs", []):
        if one["kind"] == "Namespace":
            yield one["name"], "*"
        elif one["kind"] == "ServiceAccount":
            yield one.get("namespace", HERE), one["name"]
    for match in map(_IDENTITY.match, authentication["spec"].get("identities", [])):
        if match:
            yield match[2], match[1]


def _jobs(manifests: list[Manifest]) -> Iterator[Fault]:
    for one in of_kind(manifests, "CronJob"):
        if annotations(one).get("linkerd.io/inject") != "disabled":
            yield f"{title(one)}: a sidecar would keep its pods from ending"


def _network(manifests: list[Manifest]) -> Iterator[Fault]:
    """Where calls or scrapes are let through, they must be so under the proxy's port as well."""
    for one in of_kind(manifests, "NetworkPolicy"):
        for rule in (*one["spec"].get("ingress", []), *one["spec"].get("egress", [])):
            open_ports = {port["port"] for port in rule.get("ports", [])}
            if open_ports & {GRPC, METRICS} and PROXY_PORT not in open_ports:
                yield f"{title(one)}: meshed pods come to {PROXY_PORT}, which it does not open"


def _pod(manifests: list[Manifest], one: Manifest) -> Iterator[Fault]:
    if annotations(one).get("linkerd.io/inject", "enabled") != "enabled":
        yield "it gets no sidecar"
    scaled = [
        scaler["spec"]["scaleTargetRef"]["name"]
        for scaler in of_kind(manifests, "HorizontalPodAutoscaler")
    ]
    if one["metadata"]["name"] in scaled and quantity(annotations(one).get(_CPU, "0")) <= 0:
        yield "its autoscaler knows no utilization without a request of the proxy"
    for port in ports(one):
        if not _policies(manifests, one, port):
            yield f"nobody may come to its port {port}"
    for policy in _policies(manifests, one, GRPC):
        if _MESH not in {reference["kind"] for reference in _references(policy)}:
            yield f"calls need no identity, says {title(policy)}"
    for port in {METRICS, *_probed(one)}:
        if not any(
            {reference["kind"] for reference in _references(policy)} == {_NETWORK}
            for policy in _policies(manifests, one, port)
        ):
            yield f"who has no identity, as Prometheus and the kubelet, may not come to {port}"


def _probed(one: Manifest) -> set[str]:
    """Ports that gRPC probes ask; Linkerd lets in only httpGet probes by itself."""
    by_number = {number: name for name, number in ports(one).items()}
    return {
        by_number[container[f"{kind}Probe"]["grpc"]["port"]]
        for container in containers(pod_template(one))
        for kind in ("startup", "readiness", "liveness")
        if "grpc" in container.get(f"{kind}Probe", {})
    }


def _way_out(manifests: list[Manifest], one: Manifest) -> Iterator[Fault]:
    seconds = float(annotations(one).get(_WAIT, "0"))
    yield from end_faults(manifests, one, seconds)
    if seconds and {annotations(one).get(key) for key in _NATIVE} != {"false"}:
        yield f"{title(one)}: Linkerd injects no native sidecar that waits, so say which kind"


def _servers(manifests: list[Manifest], one: Manifest, port: str) -> list[Manifest]:
    return [
        server
        for server in _of(manifests, "Server")
        if selects(server["spec"]["podSelector"], labels(one))
        and server["spec"]["port"] in {port, ports(one).get(port)}
    ]


def _policies(manifests: list[Manifest], one: Manifest, port: str) -> list[Manifest]:
    """The policies that say who may come to a pod's port."""
    wanted = {server["metadata"]["name"] for server in _servers(manifests, one, port)}
    return [
        policy
        for policy in _of(manifests, "AuthorizationPolicy")
        if policy["spec"]["targetRef"]["name"] in wanted
    ]


def _server(manifests: list[Manifest], one: Manifest) -> Iterator[Fault]:
    pods = chosen(manifests, one["spec"]["podSelector"])
    if not pods:
        yield "it selects no pods"
    for pod in pods:
        if one["spec"]["port"] not in {*ports(pod), *ports(pod).values()}:
            yield f"{title(pod)} has no port {one['spec']['port']}"
        for port in ports(pod):
            if one in (found := _servers(manifests, pod, port)) and len(found) > 1:
                yield f"port {port} of {title(pod)} has {len(found)} of them"


def _policy(manifests: list[Manifest], one: Manifest) -> Iterator[Fault]:
    target = one["spec"]["targetRef"]
    servers = {server["metadata"]["name"] for server in _of(manifests, "Server")}
    if (target["group"], target["kind"]) != (_GROUP, "Server") or target["name"] not in servers:
        yield f"there is no {target['kind']} {target['name']}"
    if not _references(one):
        yield "everybody is let in"
    kinds = [reference["kind"] for reference in _references(one)]
    if kinds.count(_MESH) > 1:
        yield "of several identities one caller has only one: they are all wanted"
    for reference in _references(one):
        known = {found["metadata"]["name"] for found in _of(manifests, reference["kind"])}
        if reference["group"] != _GROUP or reference["name"] not in known:
            yield f"there is no {reference['kind']} {reference['name']}"


def _identities(manifests: list[Manifest], one: Manifest) -> Iterator[Fault]:
    told = [*one["spec"].get("identityRefs", []), *one["spec"].get("identities", [])]
    found = [*_named(one)]
    if not told or len(found) != len(told) or {*one["spec"]} == {"identities", "identityRefs"}:
        yield "either identityRefs or identities, each of a namespace or an account, are wanted"
    for space, account in found:
        if account != "*":
            yield from unknown_account(manifests, space, account)
    users = [
        reference["name"]
        for it in _of(manifests, "AuthorizationPolicy")
        for reference in _references(it)
    ]
    if one["metadata"]["name"] not in users:
        yield "no policy wants it"
