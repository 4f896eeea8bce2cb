"""How a pod is asked whether it is well, and where its metrics are."""

from collections.abc import Iterator
from typing import Any

from tests.k8s.manifest_rules.reading import (
    SERVING,
    WORKLOADS,
    Fault,
    Manifest,
    containers,
    of_kind,
    pod_template,
    process,
    title,
)

KINDS = ("startupProbe", "readinessProbe", "livenessProbe")
START_SECONDS = 300
_HANDLERS = ("grpc", "httpGet", "tcpSocket", "exec")
_PORT_NAME = "abcdefghijklmnopqrstuvwxyz0123456789-"


def faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """What asks the wrong port, or nothing at all."""
    for one in of_kind(manifests, *WORKLOADS):
        for container in containers(pod_template(one)):
            where = f"{title(one)}: {container['name']}"
            yield from (f"{where}: {fault}" for fault in _container(container))
    for one in of_kind(manifests, *SERVING):
        yield from (f"{title(one)}: {fault}" for fault in _scraping(one))


def _container(container: dict[str, Any]) -> Iterator[Fault]:
    ports = container.get("ports", [])
    for port in ports:
        name = port.get("name", "")
        if not 1 <= len(name) <= 15 or name.strip("-") != name or {*name} - {*_PORT_NAME}:
            yield f"port name {port.get('name')!r} is not 1 to 15 of a-z, 0-9 and -"
    if len({port.get("name") for port in ports}) != len(ports):
        yield "two ports of one name"
    numbers = {port["containerPort"] for port in ports}
    for kind in KINDS:
        yield from (f"{kind}: {fault}" for fault in _probe(kind, container.get(kind), numbers))


def _probe(kind: str, probe: dict[str, Any] | None, ports: set[int]) -> Iterator[Fault]:
    if probe is None:
        if ports:
            yield "is missing"
        return
    handlers = [name for name in _HANDLERS if name in probe]
    if len(handlers) != 1:
        yield f"has the handlers {handlers}, one is wanted"
    if "grpc" in probe and probe["grpc"]["port"] not in ports:
        yield f"asks port {probe['grpc']['port']}, the container has {sorted(ports)}"
    # A server knows its own full name too, which a version of the contract changes; "" is for good.
    if "grpc" in probe and probe["grpc"].get("service", ""):
        yield f"asks for {probe['grpc']['service']}, the server as a whole is wanted"
    patience = probe.get("failureThreshold", 3) * probe.get("periodSeconds", 10)
    if kind == "startupProbe" and "grpc" in probe and patience < START_SECONDS:
        yield f"gives up after {patience} s, a start from a cold volume may take {START_SECONDS}"
    if kind == "livenessProbe" and probe.get("successThreshold", 1) != 1:
        yield "successThreshold of a liveness probe must be 1"


def _scraping(one: Manifest) -> Iterator[Fault]:
    told = pod_template(one)["metadata"].get("annotations", {})
    if told.get("prometheus.io/scrape") != "true":
        yield "Prometheus is not told to look"
    ports = {port["name"]: port["containerPort"] for port in process(one).get("ports", [])}
    if told.get("prometheus.io/port") != str(ports.get("metrics")):
        yield f"Prometheus looks at {told.get('prometheus.io/port')}, not at {ports.get('metrics')}"
