"""How the rules read manifests: pods, containers, names, quantities, variables."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

Manifest = dict[str, Any]
Fault = str

WORKLOADS = ("Deployment", "StatefulSet", "CronJob")
SERVING = ("Deployment", "StatefulSet")
_QUANTITY = re.compile(r"^\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")
_SUFFIX = {
    "m": 1e-3,
    "k": 1e3,
    "Ki": 2**10,
    "M": 1e6,
    "Mi": 2**20,
    "G": 1e9,
    "Gi": 2**30,
    "T": 1e12,
    "Ti": 2**40,
}


def title(one: Manifest) -> str:
    """What a fault calls an object."""
    return f"{one['kind']} {one['metadata']['name']}"


def of_kind(manifests: list[Manifest], *kinds: str) -> Iterator[Manifest]:
    """The objects of these kinds."""
    return (one for one in manifests if one["kind"] in kinds)


def names(manifests: list[Manifest], kind: str) -> set[str]:
    """The names of all objects of a kind."""
    return {one["metadata"]["name"] for one in of_kind(manifests, kind)}


def pod_template(workload: Manifest) -> dict[str, Any]:
    """The pod template of a workload, of a CronJob's job too."""
    spec = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template: dict[str, Any] = spec["template"]
    return template


def labels(workload: Manifest) -> dict[str, str]:
    """Of the workload's pods."""
    found: dict[str, str] = pod_template(workload)["metadata"].get("labels", {})
    return found


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers of a pod template."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def process(workload: Manifest) -> dict[str, Any]:
    """The container that the pod is there for."""
    found: dict[str, Any] = pod_template(workload)["spec"]["containers"][0]
    return found


def package(workload: Manifest) -> str:
    """Which service its process belongs to; "" for a program that is not ours."""
    told: list[str] = process(workload).get("args", [])
    return told[0].split(".")[0] if process(workload)["name"] in {"server", "job"} else ""


def selects(selector: Mapping[str, Any], found: Mapping[str, str]) -> bool:
    """Whether a label selector chooses what has these labels; an empty one chooses all."""
    if not selector.get("matchLabels", {}).items() <= found.items():
        return False
    return all(_expression(one, found) for one in selector.get("matchExpressions", []))


def _expression(one: Mapping[str, Any], found: Mapping[str, str]) -> bool:
    value = found.get(one["key"])
    match one["operator"]:
        case "In":
            return value in one["values"]
        case "NotIn":
            return value not in one["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"{one['operator']} is no operator of a selector")


def quantity(text: object) -> float:
    """A Kubernetes quantity as a number.

    Raises:
        ValueError: It is none.
    """
    told = str(text)
    if not _QUANTITY.match(told):
        raise ValueError(f"{told!r} is no quantity")
    digits = re.match(r"[\d.]+", told)
    assert digits is not None
    return float(digits[0]) * _SUFFIX.get(told[len(digits[0]) :], 1.0)


def environment(
    container: Mapping[str, Any], configs: Mapping[str, Mapping[str, str]], *, pod: str
) -> dict[str, str]:
    """The variables that a container's process gets, as the kubelet works them out.

    Args:
        container: Of a pod template.
        configs: What is in each ConfigMap.
        pod: The pod's name.

    Raises:
        ValueError: A value comes from where this function cannot look.
    """
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= configs.get(source.get("configMapRef", {}).get("name"), {})
    for entry in container.get("env", []):
        found[entry["name"]] = _value(entry, container, pod)
    return found


def _value(entry: Mapping[str, Any], container: Mapping[str, Any], pod: str) -> str:
    source = entry.get("valueFrom")
    if source is None:
        return str(entry.get("value", ""))
    if source.get("fieldRef", {}).get("fieldPath") == "metadata.name":
        return pod
    if "resourceFieldRef" in source:
        return str(_resource(source["resourceFieldRef"], container))
    raise ValueError(f"{entry['name']} comes from {[*source]}")


def _resource(source: Mapping[str, Any], container: Mapping[str, Any]) -> int:
    """A request or limit, in units of the divisor, rounded up."""
    kind, _, name = source["resource"].partition(".")
    told = container.get("resources", {}).get(kind, {}).get(name)
    if told is None:
        raise ValueError(f"there are no {kind} of {name}, which a variable is taken from")
    asked = quantity(told)
    return math.ceil(asked / (quantity(source.get("divisor", "1")) or 1))


def arguments(container: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
    """Its arguments, with `$(NAME)` replaced as the kubelet does it: what is unknown stays."""

    def known(match: re.Match[str]) -> str:
        return variables.get(match[1], match[0])

    return [re.sub(r"\$\((\w+)\)", known, one) for one in container.get("args", [])]


def configs(manifests: list[Manifest]) -> dict[str, dict[str, str]]:
    """What is in each ConfigMap, by its name."""
    return {one["metadata"]["name"]: one.get("data", {}) for one in of_kind(manifests, "ConfigMap")}
