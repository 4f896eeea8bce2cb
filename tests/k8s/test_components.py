"""The components, rendered on top of each overlay that they fit: nothing breaks, all arrives."""

from pathlib import Path
from typing import Any

import pytest

from service_runtime.access import Access, Credentials, Role
from service_runtime.config import ServiceConfig, load_config
from service_runtime.errors import PermissionDenied
from tests.k8s.manifest_rules import faults, pod_template
from tests.k8s.rendered import OVERLAYS, rendered_with


def config_of(found: list[dict[str, Any]]) -> ServiceConfig:
    """The settings of every process, read as a service reads them."""
    (settings,) = [one["data"] for one in found if "CORKBOARD_DATA_ROOT" in one.get("data", {})]
    ours = {key: value for key, value in settings.items() if key.startswith("CORKBOARD_")}
    return load_config(ServiceConfig, environment=ours)


def workloads(found: list[dict[str, Any]], *kinds: str) -> dict[str, dict[str, Any]]:
    """The pods' specs of the workloads of these kinds, by name."""
    return {
        one["metadata"]["name"]: pod_template(one)["spec"] for one in found if one["kind"] in kinds
    }


def place_of(pod: dict[str, Any], secret: str) -> str:
    """The folder in which a pod's container finds a secret's files."""
    (volume,) = [
        one["name"] for one in pod["volumes"] if one.get("secret", {}).get("secretName") == secret
    ]
    (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == volume]
    assert mount["readOnly"]
    return str(mount["mountPath"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_are_told_the_collector_and_may_reach_it(overlay: str, tmp_path: Path) -> None:
    """The setting is one of ours and has the port that the policy opens; nothing else breaks."""
    found = rendered_with(tmp_path, overlay, "tracing")

    assert faults(found) == []
    config = config_of(found)
    assert config.trace_endpoint.startswith("http://")
    assert config.data_root == Path("/data"), "the overlay's own settings stay"
    (policy,) = [one for one in found if one["metadata"]["name"] == "to-collector"]
    (rule,) = policy["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [
        int(config.trace_endpoint.rpartition(":")[2])
    ]
    (namespace,) = rule["to"]
    label = namespace["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert f".{label}:" in config.trace_endpoint


@pytest.mark.parametrize("overlay", ["single-node", "production"])
def test_tls_is_set_where_the_secrets_are_mounted(overlay: str, tmp_path: Path) -> None:
    """Each service finds its own certificate at the place of the settings; probes ask in plain."""
    found = rendered_with(tmp_path, overlay, "tls")
    config = config_of(found)
    pods = workloads(found, "Deployment", "StatefulSet")

    assert faults(found) == []
    assert set(pods) == {"profile-service", "candidate-service", "ranking-service"}
    for name, pod in pods.items():
        folder = Path(place_of(pod, f"{name}-tls"))
        assert config.tls_certificate_file == folder / "tls.crt"
        assert config.tls_key_file == folder / "tls.key"
        assert config.tls_client_ca_file == config.tls_ca_file == folder / "ca.crt"
        (container,) = pod["containers"]
        probes = [container[f"{kind}Probe"]["grpc"]["port"] for kind in ("startup", "liveness")]
        assert [*probes, container["readinessProbe"]["grpc"]["port"]] == [config.health_port] * 3


def test_tls_lets_in_whom_its_roles_name(tmp_path: Path) -> None:
    """The access file is one of ours, mounted where the settings say, with what ranking needs."""
    found = rendered_with(tmp_path, "production", "tls")
    (content,) = [one["data"] for one in found if "access.toml" in one.get("data", {})]
    path = tmp_path / "access.toml"
    path.write_text(content["access.toml"])
    roles = {"/s/Get": Role.READER, "/s/Put": Role.WRITER, "/s/EraseUser": Role.OPERATOR}
    access = Access(path, roles)

    for pod in workloads(found, "Deployment", "StatefulSet").values():
        (volume,) = [one["name"] for one in pod["volumes"] if one["name"] == "access"]
        mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
        assert config_of(found).access_file == Path(mounts[volume]) / "access.toml"
    ranking = Credentials(("cn:ranking-service",))
    assert access.admit("/s/Get", ranking) == access.admit("/s/EraseUser", ranking)
    assert access.admit("/s/Put", Credentials(("cn:shop",))) == "shop"
    with pytest.raises(PermissionDenied):
        access.admit("/s/Put", ranking)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_object_store_is_within_reach_of_services_and_jobs(overlay: str, tmp_path: Path) -> None:
    """All have the credentials where the variable says, and are let out to it."""
    found = rendered_with(tmp_path, overlay, "object-store")
    pods = workloads(found, "Deployment", "StatefulSet", "CronJob")

    assert faults(found) == []
    assert config_of(found).generations_url.startswith("s3://")
    assert len(pods) > 10
    for pod in pods.values():
        variables = {one["name"]: one.get("value") for one in pod["containers"][0].get("env", [])}
        folder = place_of(pod, "corkboard-object-store")
        assert variables["AWS_SHARED_CREDENTIALS_FILE"] == f"{folder}/credentials"
    (policy,) = [one for one in found if one["metadata"]["name"] == "to-object-store"]
    (chosen,) = policy["spec"]["podSelector"]["matchExpressions"]
    names = {
        pod_template(one)["metadata"]["labels"][chosen["key"]]
        for one in found
        if one["kind"] in {"Deployment", "StatefulSet", "CronJob"}
    }
    assert chosen["operator"] == "In"
    assert set(chosen["values"]) == names
