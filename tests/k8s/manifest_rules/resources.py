"""What pods take: memory is bounded, requests fit below limits, scratch space is asked for."""

from collections.abc import Iterator
from typing import Any

from tests.k8s.manifest_rules.reading import (
    WORKLOADS,
    Fault,
    Manifest,
    containers,
    of_kind,
    pod_template,
    process,
    quantity,
    title,
)

SMALL_SCRATCH_BYTES = 256 * 2**20
"""What any node has to spare without being asked."""


def faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """What a node could not plan with."""
    for one in of_kind(manifests, *WORKLOADS):
        for container in containers(pod_template(one)):
            where = f"{title(one)}: {container['name']}"
            yield from (f"{where}: {fault}" for fault in _container(container))
        yield from (f"{title(one)}: {fault}" for fault in _scratch(one))
        for template in one["spec"].get("volumeClaimTemplates", []):
            yield from (f"{title(one)}: {fault}" for fault in _claim(template))
    for one in of_kind(manifests, "PersistentVolumeClaim"):
        yield from (f"{title(one)}: {fault}" for fault in _claim(one))


def _claim(one: Manifest) -> Iterator[Fault]:
    spec = one.get("spec", {})
    if not spec.get("accessModes"):
        yield "a claim says who may mount it"
    if "storage" not in spec.get("resources", {}).get("requests", {}):
        yield "a claim says how much it holds"


def _container(container: dict[str, Any]) -> Iterator[Fault]:
    resources = container.get("resources", {})
    try:
        requests = {name: quantity(value) for name, value in resources.get("requests", {}).items()}
        limits = {name: quantity(value) for name, value in resources.get("limits", {}).items()}
    except ValueError as error:
        yield str(error)
        return
    if not {"cpu", "memory"} <= requests.keys() or "memory" not in limits:
        yield "requests of cpu and memory, and a limit of memory, are wanted"
    for name, limit in limits.items():
        if requests.get(name, 0) > limit:
            yield f"the request of {name} is above its limit"


def _scratch(one: Manifest) -> Iterator[Fault]:
    """Space on the node's disk has a bound, and the scheduler is told what is taken of it."""
    wanted = 0.0
    for volume in pod_template(one)["spec"].get("volumes", []):
        if "emptyDir" in volume:
            if "sizeLimit" not in volume["emptyDir"]:
                yield f"the volume {volume['name']} may fill the node's disk"
            wanted += quantity(volume["emptyDir"].get("sizeLimit", "0"))
    requests = process(one).get("resources", {}).get("requests", {})
    if wanted > SMALL_SCRATCH_BYTES and quantity(requests.get("ephemeral-storage", "0")) < wanted:
        yield f"scratch volumes hold {wanted:g} bytes, its request of ephemeral-storage is less"
