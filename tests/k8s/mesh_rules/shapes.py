"""The fields that Istio and Linkerd know of the kinds we use, after their resource definitions.

Kubernetes' schemas do not know these kinds. What is left out here is not used by us; a new field is
added when it is first used.

Source: Istio 1.24 to 1.27, `security.istio.io/v1`; Linkerd 2.16 to 2.19, `policy.linkerd.io`.
"""

import re
from collections.abc import Iterator
from typing import Any

from tests.k8s.manifest_rules import Fault, Manifest

MESH_GROUPS = ("security.istio.io", "policy.linkerd.io")
_PORT = re.compile(r"^\d{1,5}$")


class OneOf(frozenset[str]):
    """A word of a closed set."""


class MapOf(dict[str, Any]):
    """Any keys that are numbers of ports, all values of one shape."""


class Required(dict[str, Any]):
    """An object of which every field must be there."""


_LABELS = {"matchLabels": dict}
_MODE = {"mode": OneOf({"STRICT", "PERMISSIVE", "DISABLE", "UNSET"})}
_SOURCE = {
    name: [str]
    for word in ("principals", "namespaces", "ipBlocks")
    for name in (word, f"not{word[0].upper()}{word[1:]}")
}
_OPERATION = {
    name: [str]
    for word in ("ports", "paths", "methods", "hosts")
    for name in (word, f"not{word[0].upper()}{word[1:]}")
}
_ISTIO_AUTHORIZATION = {
    "selector": _LABELS,
    "action": OneOf({"ALLOW", "DENY", "AUDIT", "CUSTOM"}),
    "rules": [{"from": [{"source": _SOURCE}], "to": [{"operation": _OPERATION}]}],
}
_PODS = {
    "matchLabels": dict,
    "matchExpressions": [
        {"key": str, "operator": OneOf({"In", "NotIn", "Exists", "DoesNotExist"}), "values": [str]}
    ],
}
_PROTOCOLS = OneOf({"unknown", "HTTP/1", "HTTP/2", "gRPC", "opaque", "TLS"})
_REFERENCE = Required(group=str, kind=str, name=str)
_AUTHENTICATION = {"group": str, "kind": str, "name": str, "namespace": str}

SHAPES: dict[tuple[str, str], object] = {
    ("security.istio.io/v1", "PeerAuthentication"): {
        "selector": _LABELS,
        "mtls": _MODE,
        "portLevelMtls": MapOf(port=_MODE),
    },
    ("security.istio.io/v1", "AuthorizationPolicy"): _ISTIO_AUTHORIZATION,
    ("policy.linkerd.io/v1beta3", "Server"): Required(
        podSelector=_PODS, port=(str, int), proxyProtocol=_PROTOCOLS
    ),
    ("policy.linkerd.io/v1alpha1", "AuthorizationPolicy"): Required(
        targetRef=_REFERENCE, requiredAuthenticationRefs=[_REFERENCE]
    ),
    ("policy.linkerd.io/v1alpha1", "MeshTLSAuthentication"): {
        "identities": [str],
        "identityRefs": [_AUTHENTICATION],
    },
    ("policy.linkerd.io/v1alpha1", "NetworkAuthentication"): Required(
        networks=[{"cidr": str, "except": [str]}]
    ),
}


def is_of_a_mesh(one: Manifest) -> bool:
    """Whether a mesh's control plane, not Kubernetes itself, reads this object."""
    return one["apiVersion"].partition("/")[0] in MESH_GROUPS


def shape_faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """Unknown kinds, unknown fields, wrong types and words that are none."""
    for one in manifests:
        if is_of_a_mesh(one):
            name = f"{one['kind']} {one['metadata']['name']}"
            shape = SHAPES.get((one["apiVersion"], one["kind"]))
            if shape is None:
                yield f"{name}: {one['apiVersion']} has no such kind"
            else:
                yield from (f"{name}: {fault}" for fault in _misfits(one["spec"], shape, "spec"))


def _misfits(value: object, shape: Any, place: str) -> Iterator[Fault]:
    if isinstance(shape, OneOf):
        if value not in shape:
            yield f"{place} is {value!r}, not one of {sorted(shape)}"
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{place} is no list"
            return
        for number, item in enumerate(value):
            yield from _misfits(item, shape[0], f"{place}[{number}]")
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{place} is no object"
            return
        yield from _misfit_fields(value, shape, place)
    elif not isinstance(value, shape) or isinstance(value, bool):
        yield f"{place} is {value!r}, of the wrong type"


def _misfit_fields(value: dict[str, Any], shape: dict[str, Any], place: str) -> Iterator[Fault]:
    if isinstance(shape, Required):
        yield from (f"{place}.{name} is missing" for name in shape.keys() - value.keys())
    for name, item in value.items():
        if isinstance(shape, MapOf):
            if not isinstance(name, str) or not _PORT.match(name):
                yield f"{place}: {name!r} is no port in quotes"
            yield from _misfits(item, shape["port"], f"{place}.{name}")
        elif name not in shape:
            yield f"{place}.{name} is no field"
        else:
            yield from _misfits(item, shape[name], f"{place}.{name}")
