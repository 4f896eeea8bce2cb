"""What an API server would refuse, and what nobody would notice, in a set of manifests.

Schemas find unknown fields and wrong types. These rules find what is well-formed and wrong: names
that lead nowhere, selectors that select nothing, pieces that are promised and missing, ways in that
nobody meant to open. Each subject is a module of its own.
"""

from collections.abc import Iterator

from tests.k8s.manifest_rules import (
    hardening,
    jobs,
    policies,
    probes,
    promised,
    references,
    resources,
    services,
    settings,
    workloads,
)
from tests.k8s.manifest_rules.reading import (
    Fault,
    Manifest,
    containers,
    pod_template,
    quantity,
    title,
)

__all__ = ["Fault", "Manifest", "containers", "faults", "pod_template", "quantity"]
_SUBJECTS = (
    workloads,
    hardening,
    references,
    resources,
    probes,
    services,
    settings,
    promised,
    policies,
    jobs,
)


def faults(manifests: list[Manifest]) -> list[Fault]:
    """Everything that is wrong, one sentence each; empty is good."""
    found = [*_identities(manifests)]
    for subject in _SUBJECTS:
        found += subject.faults(manifests)
    return found


def _identities(manifests: list[Manifest]) -> Iterator[Fault]:
    """No object twice; every one in our namespace."""
    seen: set[str] = set()
    for one in manifests:
        if title(one) in seen:
            yield f"{title(one)} is there twice"
        seen.add(title(one))
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != "corkboard":
            yield f"{title(one)} is not in the namespace corkboard"
