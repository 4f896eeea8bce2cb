"""What would keep pods behind a mesh's sidecars from starting, answering or ending.

Kubernetes' schemas know nothing of a mesh, and its control plane says nothing of a rule that lets
nobody in. `shapes` stands for the schemas; the others look at what is well-formed and wrong.
"""

from tests.k8s.manifest_rules import Fault, Manifest
from tests.k8s.mesh_rules import istio, linkerd
from tests.k8s.mesh_rules.pods import namespace
from tests.k8s.mesh_rules.shapes import shape_faults

__all__ = ["callers", "mesh_faults"]


def mesh_faults(manifests: list[Manifest]) -> list[Fault]:
    """Everything that is wrong, one sentence each; empty is good."""
    misfits = [*shape_faults(manifests)]
    if misfits:
        return misfits
    if namespace(manifests)["metadata"].get("labels", {}).get("istio-injection") == "enabled":
        return [*istio.faults(manifests)]
    if namespace(manifests)["metadata"].get("annotations", {}).get("linkerd.io/inject"):
        return [*linkerd.faults(manifests)]
    return ["the namespace's pods get no sidecars"]


def callers(manifests: list[Manifest], service: str) -> set[str]:
    """
    Who may call a service.

    Returns:
        `namespace/account`, or `namespace/*` for all of a namespace.
    """
    return istio.callers(manifests, service) | linkerd.callers(manifests, service)
