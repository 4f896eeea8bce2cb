"""Mistakes in manifests, one at a time, each with words of the fault that must be found."""

from tests.k8s.broken_variants.around import PROMISED, SERVICES, SETTINGS
from tests.k8s.broken_variants.making import Broken
from tests.k8s.broken_variants.network import POLICIES
from tests.k8s.broken_variants.night import JOBS
from tests.k8s.broken_variants.pods import HARDENING, PROBES, REFERENCES, RESOURCES, WORKLOADS

_SUBJECTS = (
    WORKLOADS,
    HARDENING,
    REFERENCES,
    RESOURCES,
    PROBES,
    SERVICES,
    SETTINGS,
    PROMISED,
    POLICIES,
    JOBS,
)
BROKEN: dict[str, Broken] = {
    name: broken for subject in _SUBJECTS for name, broken in subject.items()
}
assert len(BROKEN) == sum(map(len, _SUBJECTS)), "two mistakes of one name"
