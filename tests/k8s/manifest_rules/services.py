"""Services: each selects pods, and those have the ports that it names."""

from collections.abc import Iterator
from typing import Any

from tests.k8s.manifest_rules.reading import (
    WORKLOADS,
    Fault,
    Manifest,
    containers,
    labels,
    of_kind,
    pod_template,
    title,
)


def faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """What leads to no pod or no port."""
    for one in of_kind(manifests, "Service"):
        yield from _service(one, manifests)


def _service(one: Manifest, manifests: list[Manifest]) -> Iterator[Fault]:
    selector = one["spec"].get("selector", {})
    chosen = [
        pod_template(workload)
        for workload in of_kind(manifests, *WORKLOADS)
        if selector.items() <= labels(workload).items()
    ]
    if not selector or not chosen:
        yield f"{title(one)} selects no pods"
    for template in chosen:
        ports = [port for container in containers(template) for port in container.get("ports", [])]
        known = {port["name"] for port in ports} | {port["containerPort"] for port in ports}
        for port in one["spec"]["ports"]:
            if port.get("targetPort", port["port"]) not in known:
                yield f"{title(one)}: no container has the port {port.get('targetPort')}"
        if one["spec"].get("clusterIP") == "None":
            yield from (f"{title(one)}: {fault}" for fault in _headless(one, ports))


def _headless(one: Manifest, ports: list[dict[str, Any]]) -> Iterator[Fault]:
    """Callers get the pods' addresses and go to the Service's number there: nothing translates."""
    numbers = {port["name"]: port["containerPort"] for port in ports}
    told = {port["name"]: port["port"] for port in one["spec"]["ports"]}
    for name in ("grpc", "metrics"):
        if told.get(name) != numbers.get(name):
            yield f"its port {name} is {told.get(name)}, that of the pods is {numbers.get(name)}"
