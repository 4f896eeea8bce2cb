"""Runs what a manifest describes with podman: its user, limits, hardening, settings, volumes."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.k8s.manifest_rules import Manifest, pod_template, quantity
from tests.k8s.manifest_rules.reading import arguments, environment, process


def missing() -> str:
    """What keeps this machine from running containers; "" = nothing."""
    if shutil.which("podman") is None:
        return "podman is not installed"
    if os.geteuid() != 0:
        return "limits and users of containers need root"
    told = subprocess.run(["podman", "info"], check=False, capture_output=True, text=True)
    return "" if told.returncode == 0 else f"podman does not work here: {told.stderr.strip()[:200]}"


def podman(*arguments: str | Path, check: bool = True) -> str:
    """Run podman and return what it printed, stderr after stdout."""
    told = subprocess.run(
        ["podman", *map(str, arguments)], check=False, capture_output=True, text=True
    )
    if check and told.returncode != 0:
        raise AssertionError(f"podman {arguments[0]}: {told.stdout}{told.stderr}"[-3000:])
    return told.stdout + told.stderr


def run_arguments(
    workload: Manifest, settings: Mapping[str, str], volumes: Mapping[str, Path], *, name: str
) -> list[str]:
    """What makes `podman run` start the workload's container as Kubernetes would.

    Args:
        workload: A Deployment, StatefulSet or CronJob.
        settings: The ConfigMap that it names.
        volumes: Folders for claims, by the name of the volume in the pod.
        name: Of the pod.

    Returns:
        Options only; the image and `arguments_of` come after them.
    """
    spec = pod_template(workload)["spec"]
    container = process(workload)
    pod_security, security = spec["securityContext"], container["securityContext"]
    made = [f"--user={pod_security['runAsUser']}:{pod_security['runAsGroup']}"]
    if security["readOnlyRootFilesystem"]:
        made += ["--read-only", "--read-only-tmpfs=false"]
    made += [f"--cap-drop={one}" for one in security["capabilities"]["drop"]]
    if not security["allowPrivilegeEscalation"]:
        made.append("--security-opt=no-new-privileges")
    made.append(f"--memory={int(quantity(container['resources']['limits']['memory']))}")
    variables = dict(settings) | environment(container, {}, pod=name)
    made += [f"--env={key}={value}" for key, value in variables.items()]
    return [*made, *_mounts(spec, container, volumes)]


def arguments_of(workload: Manifest) -> list[str]:
    """The arguments of the workload's container, as its process gets them."""
    return arguments(process(workload), environment(process(workload), {}, pod=""))


def _mounts(
    spec: dict[str, Any], container: dict[str, Any], volumes: Mapping[str, Path]
) -> list[str]:
    empty = {one["name"]: one["emptyDir"] for one in spec["volumes"] if "emptyDir" in one}
    found = []
    for mount in container["volumeMounts"]:
        name, place = mount["name"], mount["mountPath"]
        if name in empty:
            size = int(quantity(empty[name]["sizeLimit"]))
            found.append(f"--tmpfs={place}:rw,mode=1777,size={size}")
        else:
            found.append(f"--volume={volumes[name]}:{place}")
    return found


def state(name: str) -> dict[str, Any]:
    """What podman knows of a container."""
    found: list[dict[str, Any]] = json.loads(podman("container", "inspect", name))
    return found[0]
