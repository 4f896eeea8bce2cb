"""Callers without gRPC: the published gateway configuration, in a real Envoy, on real services."""

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from corkboard.stack import Stack
from tests.integration.world import copy_of_root, make_stack
from tests.mesh.proxy import free_port, running

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the gateway in front of three services on the tiny world."""
    folder = tmp_path_factory.mktemp("gateway")
    subprocess.run(["make", "--silent", "descriptors", f"OUT={folder}"], cwd=ROOT, check=True)
    admin_port, port = free_port(), free_port()
    with make_stack(copy_of_root(folder)) as stack:
        config = configuration(stack, folder / "corkboard.binpb", port=port, admin_port=admin_port)
        with running(config, folder, admin_port=admin_port):
            yield f"http://127.0.0.1:{port}"


def configuration(stack: Stack, descriptors: Path, *, port: int, admin_port: int) -> dict[str, Any]:
    """What is published, with the addresses of this test; nothing else is changed."""
    text = (ROOT / "k8s" / "json-gateway" / "envoy.yaml").read_text()
    config: dict[str, Any] = yaml.safe_load(
        text.replace("/etc/envoy/corkboard.binpb", str(descriptors))
    )
    config["admin"]["address"]["socket_address"]["port_value"] = admin_port
    listener = config["static_resources"]["listeners"][0]
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    for cluster in config["static_resources"]["clusters"]:
        host, _, number = stack.targets[cluster["name"].replace("-", "_")].rpartition(":")
        address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"][
            "address"
        ]
        address["socket_address"] = {"address": host, "port_value": int(number)}
    return config


def post(address: str, method: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a call; {} where the answer is no JSON."""
    host = address.removeprefix("http://")
    with closing(http.client.HTTPConnection(host, timeout=10)) as connection:
        headers = {"content-type": "application/json"}
        connection.request("POST", f"/{method}", json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
    return answer.status, json.loads(content) if content.startswith(b"{") else {}


def test_a_recommendation_comes_as_json(gateway: str) -> None:
    """Fields bear the names of the contract."""
    status, answer = post(
        gateway, "corkboard.ranking.v1.RankingService/RecommendPins", {"user_id": "ana", "limit": 5}
    )

    assert status == 200
    assert len(answer["pins"]) == 5
    assert answer["pins"][0]["sources"]
    assert answer["list_id"]


def test_an_action_recorded_as_json_is_in_the_profile(gateway: str) -> None:
    """Writes work, too; enums by their names."""
    action = {
        "action_id": "json-1",
        "user_id": "json-user",
        "pin_id": "typography-1",
        "action_type": "ACTION_TYPE_SAVE",
    }
    service = "corkboard.profile.v1.ProfileService"
    recorded = post(gateway, f"{service}/RecordActions", {"actions": [action]})
    status, answer = post(gateway, f"{service}/GetProfile", {"user_id": "json-user"})

    assert (recorded[0], recorded[1]["codes"]) == (200, ["ACTION_CODE_RECORDED"])
    assert status == 200
    assert answer["profile"]["clusters"][0]["medoid_pin_id"] == "typography-1"


def test_a_bad_request_says_which_field(gateway: str) -> None:
    """INVALID_ARGUMENT is 400, with the field in the body."""
    status, answer = post(
        gateway, "corkboard.ranking.v1.RankingService/RecommendPins", {"user_id": "a", "limit": 501}
    )

    assert status == 400
    assert "limit" in answer["message"]


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("corkboard.ranking.v1.RankingService/NoSuchMethod", {}),
        ("corkboard.ranking.v1.RankingService/RecommendPins", {"no_such_field": 1}),
        ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", {}),
    ],
)
def test_what_is_not_in_the_contract_is_refused(
    gateway: str, method: str, body: dict[str, Any]
) -> None:
    """No other method, field or service passes the gateway."""
    status, _ = post(gateway, method, body)

    assert status in {400, 404}
