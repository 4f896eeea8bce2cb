"""k8s/restore-pod.json with the component `backups`: the volumes as profile_service has them."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.k8s.manifest_rules import Manifest, faults, hardening
from tests.k8s.rendered import OVERLAYS, ROOT, manifests, one_of, rendered_with
from tests.k8s.test_manifests import VERSIONS

PAGE = (ROOT / "docs" / "backup-and-restore.md").read_text()


def restore_pod() -> Manifest:
    """The pod that `kubectl run` makes of it, by the page's own command."""
    called = re.search(
        r"kubectl -n (\S+) run (\S+) .*?--image=(\S+) .*?k8s/(\S+\.json).*? -- (.*)\n",
        PAGE,
        re.DOTALL,
    )
    assert called is not None
    namespace, name, image, file, command = called.groups()
    made: Manifest = json.loads((ROOT / "k8s" / file).read_text())
    made |= {"apiVersion": "v1", "kind": "Pod"}
    made["metadata"] |= {"name": name, "namespace": namespace}
    made["spec"]["restartPolicy"] = "Never"
    (container,) = made["spec"]["containers"]
    assert container["name"] == name, "kubectl would add a second container"
    container |= {"image": image, "command": command.split()}
    return made


def mounts(pod: dict[str, Any], claims: dict[str, str]) -> dict[str, str]:
    """Claim by place, of the pod's first container."""
    known = claims | {
        one["name"]: one["persistentVolumeClaim"]["claimName"]
        for one in pod["volumes"]
        if "persistentVolumeClaim" in one
    }
    found = pod["containers"][0]["volumeMounts"]
    return {one["mountPath"]: known[one["name"]] for one in found if one["name"] in known}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_volumes_are_where_profile_service_has_them(overlay: str, tmp_path: Path) -> None:
    """Data, the live log inside it, backups beside it; each claim is made somewhere."""
    found = rendered_with(tmp_path, overlay, "backups")
    served = one_of(found, "StatefulSet", "profile-service")
    own = {
        one["metadata"]["name"]: f"{one['metadata']['name']}-profile-service-0"
        for one in served["spec"]["volumeClaimTemplates"]
    }

    expected = mounts(served["spec"]["template"]["spec"], own)

    assert faults(found) == []
    assert mounts(restore_pod()["spec"], {}) == expected
    assert set(expected) == {"/data", "/data/live/profile", "/backups"}
    assert len(set(expected.values())) == 3, "a backup lies on another volume than what it protects"
    one_of(found, "PersistentVolumeClaim", "corkboard-backups")
    one_of(found, "ServiceAccount", restore_pod()["spec"]["serviceAccountName"])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schema_of_every_promised_version_holds(version: str) -> None:
    """No unknown field, no wrong type; a field that is unknown is found."""
    broken = restore_pod()
    broken["spec"]["volums"] = broken["spec"].pop("volumes")

    assert kubernetes_validate.validate(restore_pod(), version, strict=True) == version
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


def test_the_namespace_lets_it_in() -> None:
    """It runs as the services do, so that they may write what it restored."""
    pod = restore_pod()["spec"]
    around = {"metadata": {"labels": {}}, "spec": copy.deepcopy(pod)}
    wrapped = {"kind": "Deployment", "metadata": {"name": "restore"}, "spec": {"template": around}}
    served = one_of(manifests("production"), "StatefulSet", "profile-service")
    theirs = served["spec"]["template"]["spec"]["securityContext"]

    assert list(hardening.faults([wrapped])) == []
    assert {key: pod["securityContext"][key] for key in theirs} == theirs


def test_no_backup_is_shown_on_the_volume_that_it_protects() -> None:
    """Everywhere that a page writes one in a cluster."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    lines = [line for page in pages for line in page.read_text().splitlines()]
    shown = [line for line in lines if "kubectl" in line and "corkboard backup" in line]

    assert shown
    assert [
        line for line in shown if not re.search(r"backup --data-root /data /backups/\S", line)
    ] == []
