"""Overlays as `kubectl kustomize` renders them: ours, and those that an operator would write."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.k8s.manifest_rules import Manifest

ROOT = Path(__file__).parents[2]
OVERLAYS = ("single-node", "production", "mesh-istio", "mesh-linkerd")


@cache
def rendered(overlay: str) -> str:
    """What `kubectl apply -k` would send."""
    return _kustomize(ROOT / "k8s" / "overlays" / overlay)


def manifests(overlay: str) -> list[Manifest]:
    """The objects of an overlay, a mesh's own kinds among them."""
    found = [one for one in yaml.safe_load_all(rendered(overlay)) if one]
    assert len(found) > 20
    return found


def rendered_with(folder: Path, overlay: str, *components: str) -> list[Manifest]:
    """The objects of an overlay with components, in that order, as an operator would write it."""
    k8s = os.path.relpath(ROOT / "k8s", folder)
    kustomization = {
        "resources": [f"{k8s}/overlays/{overlay}"],
        "components": [f"{k8s}/components/{component}" for component in components],
    }
    return rendered_from(folder, kustomization)


def rendered_from(folder: Path, kustomization: dict[str, Any]) -> list[Manifest]:
    """The objects of an overlay that is written to a folder of the test."""
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return [one for one in yaml.load_all(_kustomize(folder), Loader=yaml.CSafeLoader) if one]


def one_of(found: list[Manifest], kind: str, name: str) -> Manifest:
    """The one object of that kind and name."""
    (one,) = [one for one in found if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return one


def _kustomize(folder: Path) -> str:
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [str(kubectl), "kustomize", str(folder)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
