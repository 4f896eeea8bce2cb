"""The overlays as `kubectl kustomize` renders them."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import yaml

from tests.k8s.manifest_rules import Manifest

ROOT = Path(__file__).parents[2]
OVERLAYS = ("single-node", "production", "mesh-istio", "mesh-linkerd")


@cache
def rendered(overlay: str) -> str:
    """What `kubectl apply -k` would send."""
    kubectl = Path(sys.executable).with_name("kubectl")
    return subprocess.run(
        [str(kubectl), "kustomize", str(ROOT / "k8s" / "overlays" / overlay)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def manifests(overlay: str) -> list[Manifest]:
    """The objects of an overlay, a mesh's own kinds among them."""
    found = [one for one in yaml.safe_load_all(rendered(overlay)) if one]
    assert len(found) > 20
    return found
