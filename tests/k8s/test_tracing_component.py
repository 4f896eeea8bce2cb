"""The component that switches traces on: rendered on top of each overlay, and then whole."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service_runtime.config import ServiceConfig, load_config
from tests.k8s.manifest_rules import faults
from tests.k8s.rendered import OVERLAYS, ROOT


def render(overlay: str, folder: Path) -> list[dict[str, Any]]:
    """The objects of an overlay with the component, as an operator would write it."""
    near = {
        name: os.path.relpath(ROOT / "k8s" / name, folder) for name in ("overlays", "components")
    }
    kustomization = {
        "resources": [f"{near['overlays']}/{overlay}"],
        "components": [f"{near['components']}/tracing"],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [str(kubectl), "kustomize", str(folder)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_are_told_the_collector_and_may_reach_it(overlay: str, tmp_path: Path) -> None:
    """The setting is one of ours and has the port that the policy opens; nothing else breaks."""
    found = render(overlay, tmp_path)

    assert faults(found) == []
    (settings,) = [
        one["data"] for one in found if "CORKBOARD_TRACE_ENDPOINT" in str(one.get("data"))
    ]
    config = load_config(
        ServiceConfig,
        environment={key: at for key, at in settings.items() if key.startswith("CORKBOARD_")},
    )
    assert config.trace_endpoint.startswith("http://")
    assert settings["CORKBOARD_DATA_ROOT"] == "/data", "the overlay's own settings stay"
    (policy,) = [one for one in found if one["metadata"]["name"] == "to-collector"]
    (rule,) = policy["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [
        int(config.trace_endpoint.rpartition(":")[2])
    ]
    (namespace,) = rule["to"]
    label = namespace["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert f".{label}:" in config.trace_endpoint
