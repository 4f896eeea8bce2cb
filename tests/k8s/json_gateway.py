"""The JSON gateway as an operator gets it: rendered with an overlay, its parts taken out."""

import base64
from dataclasses import dataclass
from typing import Any

import yaml

from tests.k8s.manifest_rules import Manifest, pod_template
from tests.k8s.rendered import one_of

NAME = "json-gateway"


@dataclass(frozen=True)
class Gateway:
    """What runs in a pod of the gateway.

    Attributes:
        config: envoy.yaml, parsed.
        text: The same as it stands.
        descriptors: The descriptor set.
        place: The folder in which the pod's container has both.
        pod: The pod's spec.
        container: Its only container.
    """

    config: dict[str, Any]
    text: str
    descriptors: bytes
    place: str
    pod: dict[str, Any]
    container: dict[str, Any]


def gateway_of(found: list[Manifest]) -> Gateway:
    """Follow the Deployment's volume to its ConfigMap."""
    pod = pod_template(one_of(found, "Deployment", NAME))["spec"]
    (container,) = pod["containers"]
    configs = {one["metadata"]["name"]: one for one in found if one["kind"] == "ConfigMap"}
    (volume,) = [one for one in pod["volumes"] if "configMap" in one]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == volume["name"]]
    held = configs[volume["configMap"]["name"]]
    return Gateway(
        config=yaml.safe_load(held["data"]["envoy.yaml"]),
        text=held["data"]["envoy.yaml"],
        descriptors=base64.b64decode(held["binaryData"]["corkboard.binpb"]),
        place=mount["mountPath"],
        pod=pod,
        container=container,
    )


def addresses_of(found: list[Manifest]) -> dict[str, str]:
    """`name.namespace:port` of the gRPC port of each rendered Service, and the Service's name."""
    return {
        f"{one['metadata']['name']}.{one['metadata']['namespace']}:{port['port']}": one["metadata"][
            "name"
        ]
        for one in found
        if one["kind"] == "Service"
        for port in one["spec"]["ports"]
        if port["name"] == "grpc"
    }


def endpoint_of(cluster: dict[str, Any]) -> dict[str, Any]:
    """The socket address of a cluster's only endpoint."""
    (locality,) = cluster["load_assignment"]["endpoints"]
    (endpoint,) = locality["lb_endpoints"]
    address: dict[str, Any] = endpoint["endpoint"]["address"]["socket_address"]
    return address
