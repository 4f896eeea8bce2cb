"""Names in pods: each claim, ConfigMap and Secret is made here, or by somebody who is known."""

from collections.abc import Iterator
from typing import Any

from tests.k8s.manifest_rules.reading import (
    WORKLOADS,
    Fault,
    Manifest,
    containers,
    names,
    of_kind,
    pod_template,
    title,
)

MADE_ELSEWHERE = {
    "ConfigMap": frozenset({"kube-root-ca.crt"}),
    "Secret": frozenset({"profile-service-tls", "candidate-service-tls", "ranking-service-tls"}),
}
"""What the cluster makes itself, and what its operator is asked to (k8s/components/tls)."""


def faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """What leads nowhere."""
    for one in of_kind(manifests, *WORKLOADS):
        yield from (f"{title(one)}: {fault}" for fault in _pod(one, manifests))


def _pod(one: Manifest, manifests: list[Manifest]) -> Iterator[Fault]:
    spec = pod_template(one)["spec"]
    for volume in spec.get("volumes", []):
        if len(volume) != 2:
            yield f"the volume {volume['name']} has {[*volume][1:]}, one source is wanted"
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim and claim not in names(manifests, "PersistentVolumeClaim"):
            yield f"there is no claim {claim}"
        sources = [volume, *volume.get("projected", {}).get("sources", [])]
        for source in sources:
            yield from _named("ConfigMap", source.get("configMap"), manifests)
            yield from _named("Secret", source.get("secret"), manifests)
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    claims = {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
    mounts = [mount for one in spec["containers"] for mount in one.get("volumeMounts", [])]
    for name in sorted((volumes | claims) - {mount["name"] for mount in mounts}):
        yield f"nobody mounts the volume {name}"
    for container in containers(pod_template(one)):
        found = [*_mounts(container, volumes | claims), *_variables(container, manifests)]
        yield from (f"{container['name']}: {fault}" for fault in found)


def _mounts(container: dict[str, Any], volumes: set[str]) -> Iterator[Fault]:
    mounts = container.get("volumeMounts", [])
    for mount in mounts:
        if mount["name"] not in volumes:
            yield f"there is no volume {mount['name']}"
    if len({mount["mountPath"] for mount in mounts}) != len(mounts):
        yield "two volumes at one path"


def _variables(container: dict[str, Any], manifests: list[Manifest]) -> Iterator[Fault]:
    for source in container.get("envFrom", []):
        yield from _named("ConfigMap", source.get("configMapRef"), manifests)
        yield from _named("Secret", source.get("secretRef"), manifests)
    for entry in container.get("env", []):
        source = entry.get("valueFrom", {})
        yield from _named("ConfigMap", source.get("configMapKeyRef"), manifests)
        yield from _named("Secret", source.get("secretKeyRef"), manifests)


def _named(kind: str, source: Any, manifests: list[Manifest]) -> Iterator[Fault]:
    """Volumes call a Secret's name `secretName`, all else `name`; one key of it is there too."""
    if not source or source.get("optional"):
        return
    name = source.get("secretName") or source.get("name")
    made = [one for one in of_kind(manifests, kind) if one["metadata"]["name"] == name]
    if not made and name not in MADE_ELSEWHERE[kind]:
        yield f"there is no {kind} {name}"
    if made and "key" in source and source["key"] not in made[0].get("data", {}):
        yield f"{kind} {name} has no {source['key']}"
