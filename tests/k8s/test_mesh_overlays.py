"""Behind Istio and Linkerd: pods start, answer whom they should, and end; each mistake is found."""

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.manifest_rules import Manifest, faults
from tests.k8s.mesh_rules import callers, mesh_faults
from tests.k8s.rendered import ROOT, manifests, rendered_with

MESHES = ("mesh-istio", "mesh-linkerd")
Breakage = Callable[[list[Manifest]], None]
_MISSING = object()
_read = cache(manifests)


@pytest.mark.parametrize("overlay", MESHES)
def test_nothing_keeps_meshed_pods_from_working(overlay: str) -> None:
    """Shapes, selectors, ports, identities, the way to the control plane, drains and jobs fit."""
    assert mesh_faults(manifests(overlay)) == []


@pytest.mark.parametrize("overlay", MESHES)
@pytest.mark.parametrize("component", ["tracing", "object-store"])
def test_other_components_break_no_mesh(overlay: str, component: str, tmp_path: Path) -> None:
    """What is added to an overlay leaves the sidecars their way."""
    assert mesh_faults(rendered_with(tmp_path, overlay, component)) == []


@pytest.mark.parametrize("mesh", MESHES)
def test_a_mesh_goes_with_another_overlay(mesh: str, tmp_path: Path) -> None:
    """The overlays are production with a component, which any other takes as well."""
    found = rendered_with(tmp_path, "single-node", mesh)

    assert mesh_faults(found) == []
    assert faults(found) == []


@pytest.mark.parametrize("overlay", MESHES)
def test_only_ranking_and_writers_call_the_others(overlay: str) -> None:
    """The star of the architecture holds behind the mesh too; who asks for pins is no writer."""
    found = manifests(overlay)

    assert callers(found, "ranking-service") == {"shop/*"}
    for name in ("profile-service", "candidate-service"):
        assert callers(found, name) == {"corkboard/ranking-service", "shop/corkboard-writer"}


def test_the_import_pod_gets_no_sidecar_of_either_mesh() -> None:
    """It ends when it is done, in a namespace with and without a mesh."""
    told = json.loads((ROOT / "k8s" / "import-pod.json").read_text())["metadata"]

    assert told["labels"]["sidecar.istio.io/inject"] == "false"
    assert told["annotations"]["linkerd.io/inject"] == "disabled"


def _place(found: list[Manifest], kind: str, name: str, path: str) -> tuple[Any, Any]:
    """What holds the last word of a path in an object, and that word as a key."""
    place: Any = next(
        one for one in found if (one["kind"], one["metadata"]["name"]) == (kind, name)
    )
    *upper, last = path.split()
    for word in upper:
        place = place[int(word) if isinstance(place, list) else word]
    return place, int(last) if isinstance(place, list) else last


def _sets(kind: str, name: str, path: str, to: object = _MISSING) -> Breakage:
    """Break one object: set what is at a path of words, or remove it."""

    def breaks(found: list[Manifest]) -> None:
        place, last = _place(found, kind, name, path)
        if to is _MISSING:
            del place[last]
        else:
            place[last] = to

    return breaks


def _without(kind: str, name: str) -> Breakage:
    def breaks(found: list[Manifest]) -> None:
        before = len(found)
        found[:] = [one for one in found if (one["kind"], one["metadata"]["name"]) != (kind, name)]
        assert len(found) == before - 1

    return breaks


def _twice(kind: str, name: str, path: str, to: object) -> Breakage:
    """A second object with another name and one thing different."""

    def breaks(found: list[Manifest]) -> None:
        held, _ = _place(found, kind, name, "metadata")
        second = copy.deepcopy(held)
        second["metadata"]["name"] = "second"
        found.append(second)
        _sets(kind, "second", path, to)(found)

    return breaks


def _annotation(key: str, to: object = _MISSING) -> Breakage:
    path = f"spec template metadata annotations {key}"
    return _sets("Deployment", "ranking-service", path, to)


def _setting(key: str, to: str) -> Breakage:
    def breaks(found: list[Manifest]) -> None:
        for one in found:
            if one["kind"] == "ConfigMap":
                one["data"][key] = to

    return breaks


_RULE = "spec rules 0"
_TO_RANKING = ("AuthorizationPolicy", "callers-to-ranking-service")
_TO_PROFILE = ("AuthorizationPolicy", "ranking-to-profile-service")
_STRICT = ("PeerAuthentication", "corkboard")
_METRICS = ("PeerAuthentication", "metrics")
_PRINCIPALS = f"{_RULE} from 0 source principals"
_JOB = ("CronJob", "build-graph")
_PROXY = "proxy.istio.io/config"
ISTIO = {
    "no way to the control plane": _without("NetworkPolicy", "to-istiod"),
    "way to a wrong port": _sets("NetworkPolicy", "to-istiod", "spec egress 0 ports 0 port", 15010),
    "no sidecars": _sets("Namespace", "corkboard", "metadata labels istio-injection", "disabled"),
    "a job that never ends": _sets(
        *_JOB, "spec jobTemplate spec template metadata labels sidecar.istio.io/inject"
    ),
    "a service without its sidecar": _sets(
        "Deployment",
        "ranking-service",
        "spec template metadata labels sidecar.istio.io/inject",
        "false",
    ),
    "sidecar gone before the server": _annotation(_PROXY, "holdApplicationUntilProxyStarts: true"),
    "sidecar killed": _annotation(
        _PROXY, "{holdApplicationUntilProxyStarts: true, terminationDrainDuration: 45s}"
    ),
    "server before its sidecar": _annotation(_PROXY, "terminationDrainDuration: 25s"),
    "server drains longer": _setting("CORKBOARD_DRAIN_SECONDS", "30"),
    "grace shorter than the drain": _sets(
        "Deployment", "ranking-service", "spec template spec terminationGracePeriodSeconds", 20
    ),
    "metrics merged": _annotation("prometheus.istio.io/merge-metrics"),
    "metrics want a certificate": _sets(*_METRICS, "spec portLevelMtls 9103"),
    "metrics want an identity": _without("AuthorizationPolicy", "metrics"),
    "exception without selector": _sets(*_METRICS, "spec selector"),
    "exception of a foreign port": _sets(*_METRICS, "spec portLevelMtls 9999", {"mode": "STRICT"}),
    "exception of the calls": _sets(*_METRICS, "spec portLevelMtls 50051", {"mode": "PERMISSIVE"}),
    "calls in plain": _sets(*_STRICT, "spec mtls mode", "PERMISSIVE"),
    "nothing for the namespace": _without(*_STRICT),
    "two for one pod": _twice(*_METRICS, "spec mtls mode", "STRICT"),
    "unknown mode": _sets(*_STRICT, "spec mtls mode", "STRICKT"),
    "unknown field": _sets(*_STRICT, "spec mtls Mode", "STRICT"),
    "unknown action": _sets(*_TO_RANKING, "spec action", "PERMIT"),
    "rule that denies": _sets(*_TO_RANKING, "spec action", "DENY"),
    "selector misses its pods": _sets(
        *_TO_RANKING, "spec selector matchLabels", {"app.kubernetes.io/name": "ranking"}
    ),
    "rules that are none": _sets(*_TO_RANKING, "spec rules", []),
    "everybody": _sets(*_TO_RANKING, f"{_RULE} from"),
    "everybody by an empty source": _sets(*_TO_RANKING, f"{_RULE} from", [{"source": {}}]),
    "any port": _sets(*_TO_RANKING, f"{_RULE} to"),
    "port of another service": _sets(*_TO_RANKING, f"{_RULE} to 0 operation ports", ["50051"]),
    "port as a number": _sets(*_TO_RANKING, f"{_RULE} to 0 operation ports", [50053]),
    "account that is not there": _sets(
        *_TO_PROFILE, _PRINCIPALS, ["cluster.local/ns/corkboard/sa/ranking"]
    ),
    "account without a sidecar": _sets(
        *_TO_PROFILE, _PRINCIPALS, ["cluster.local/ns/corkboard/sa/corkboard-jobs"]
    ),
    "principal with its scheme": _sets(
        *_TO_PROFILE, _PRINCIPALS, ["spiffe://cluster.local/ns/corkboard/sa/ranking-service"]
    ),
    "version that is none": _sets(*_TO_RANKING, "apiVersion", "security.istio.io/v2"),
}

_SERVER = ("Server", "ranking-service")
_POLICY = ("AuthorizationPolicy", "callers-to-ranking-service")
_WAIT = "config.alpha.linkerd.io/proxy-wait-before-exit-seconds"
_REFERENCES = "spec requiredAuthenticationRefs"
_NETWORK = {
    "group": "policy.linkerd.io",
    "kind": "NetworkAuthentication",
    "name": "without-identity",
}
_PROBE = "spec template spec containers 0 readinessProbe grpc port"
LINKERD = {
    "no way to the control plane": _without("NetworkPolicy", "to-linkerd"),
    "no way to one part of it": _sets("NetworkPolicy", "to-linkerd", "spec egress 0 ports 1"),
    "the proxy's port shut": _sets("NetworkPolicy", "profile-service", "spec ingress 0 ports 1"),
    "the way out to it shut": _sets("NetworkPolicy", "ranking-service", "spec egress 0 ports 1"),
    "no sidecars": _sets("Namespace", "corkboard", "metadata annotations"),
    "a job that never ends": _sets(
        *_JOB, "spec jobTemplate spec template metadata annotations linkerd.io/inject"
    ),
    "a service without its sidecar": _annotation("linkerd.io/inject", "disabled"),
    "sidecar gone before the server": _annotation(_WAIT),
    "sidecar gone in the middle": _annotation(_WAIT, "18"),
    "sidecar killed": _annotation(_WAIT, "40"),
    "server drains longer": _setting("CORKBOARD_DRAIN_WAIT_SECONDS", "10"),
    "a native one that waits": _annotation("config.beta.linkerd.io/proxy-enable-native-sidecar"),
    "autoscaler without a request": _annotation("config.linkerd.io/proxy-cpu-request"),
    "probe of the port for calls": _sets("Deployment", "ranking-service", _PROBE, 50053),
    "metrics shut": _without("AuthorizationPolicy", "prometheus-to-metrics"),
    "probes shut": _without("AuthorizationPolicy", "kubelet-to-health"),
    "probes want an identity": _sets(
        "AuthorizationPolicy",
        "kubelet-to-health",
        f"{_REFERENCES} 0",
        {"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": "callers"},
    ),
    "server misses its pods": _sets(
        *_SERVER, "spec podSelector matchLabels", {"app.kubernetes.io/name": "ranking"}
    ),
    "server of a foreign port": _sets(*_SERVER, "spec port", "grcp"),
    "server of jobs": _sets(
        *_SERVER, "spec podSelector matchLabels", {"app.kubernetes.io/name": "corkboard-jobs"}
    ),
    "two servers of one port": _twice(*_SERVER, "spec port", 50053),
    "unknown protocol": _sets(*_SERVER, "spec proxyProtocol", "GRPC"),
    "unknown field": _sets(*_SERVER, "spec selector", {"matchLabels": {}}),
    "missing field": _sets(*_SERVER, "spec podSelector"),
    "version that is none": _sets(*_SERVER, "apiVersion", "policy.linkerd.io/v1alpha1"),
    "policy of no server": _sets(*_POLICY, "spec targetRef name", "ranking"),
    "policy of another kind": _sets(*_POLICY, "spec targetRef kind", "Service"),
    "authentication that is not there": _sets(*_POLICY, f"{_REFERENCES} 0 name", "clients"),
    "everybody": _sets(*_POLICY, _REFERENCES, []),
    "everybody by address": _sets(*_POLICY, f"{_REFERENCES} 0", _NETWORK),
    "account that is not there": _sets(
        "MeshTLSAuthentication", "ranking-service", "spec identityRefs 0 name", "ranking"
    ),
    "identity of a wrong form": _sets(
        "MeshTLSAuthentication", "callers", "spec", {"identities": ["shop"]}
    ),
    "nobody": _sets("MeshTLSAuthentication", "callers", "spec identityRefs", []),
}


@pytest.mark.parametrize("name", ISTIO)
def test_each_mistake_behind_istio_is_found(name: str) -> None:
    """One mistake, at least one fault."""
    found = copy.deepcopy(_read("mesh-istio"))
    ISTIO[name](found)

    assert mesh_faults(found)


@pytest.mark.parametrize("name", LINKERD)
def test_each_mistake_behind_linkerd_is_found(name: str) -> None:
    """One mistake, at least one fault."""
    found = copy.deepcopy(_read("mesh-linkerd"))
    LINKERD[name](found)

    assert mesh_faults(found)
