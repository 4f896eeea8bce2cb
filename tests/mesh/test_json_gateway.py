"""Callers without gRPC: the published gateway, in a real Envoy, on real services."""

import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from corkboard.stack import Stack
from tests.integration.world import copy_of_root, make_stack
from tests.k8s.json_gateway import (
    NAME,
    Gateway,
    addresses_of,
    endpoint_of,
    gateway_of,
)
from tests.k8s.rendered import rendered_with
from tests.mesh.proxy import free_port, running

RECOMMEND = "corkboard.ranking.v1.RankingService/RecommendPins"
PROFILE = "corkboard.profile.v1.ProfileService"


@dataclass(frozen=True)
class Ports:
    """Free ones, for what has fixed ones in a pod."""

    http: int
    metrics: int
    admin: int


@dataclass(frozen=True)
class Running:
    """A gateway in front of three services on the tiny world."""

    ports: Ports
    published: Gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """What the component renders; only addresses are those of this machine."""
    folder = tmp_path_factory.mktemp("gateway")
    found = rendered_with(folder, "single-node", NAME)
    published = gateway_of(found)
    (folder / "corkboard.binpb").write_bytes(published.descriptors)
    ports = Ports(free_port(), free_port(), free_port())
    with make_stack(copy_of_root(folder)) as stack:
        config = here(published, folder, ports, targets(stack, addresses_of(found)))
        with running(config, folder, admin_port=ports.admin):
            yield Running(ports, published)


def targets(stack: Stack, services: dict[str, str]) -> dict[str, str]:
    """Where the Service of each published address is served here."""
    return {at: stack.targets[name.replace("-", "_")] for at, name in services.items()}


def here(
    published: Gateway, folder: Path, ports: Ports, services: dict[str, str]
) -> dict[str, Any]:
    """The published configuration with the addresses of this test; nothing else is changed.

    An address that is no rendered Service's is a KeyError.
    """
    config: dict[str, Any] = yaml.safe_load(published.text.replace(published.place, str(folder)))
    config["admin"]["address"]["socket_address"]["port_value"] = ports.admin
    free = {"json": ports.http, "metrics": ports.metrics}
    for listener in config["static_resources"]["listeners"]:
        listener["address"]["socket_address"] = {
            "address": "127.0.0.1",
            "port_value": free[listener["name"]],
        }
    for cluster in config["static_resources"]["clusters"]:
        at = endpoint_of(cluster)
        if cluster["name"] == "admin":
            at["port_value"] = ports.admin
            continue
        host, _, port = services[f"{at['address']}:{at['port_value']}"].rpartition(":")
        at.update(address=host, port_value=int(port))
    return config


@dataclass(frozen=True)
class Answer:
    """Of an HTTP request; `body` is {} where it is no JSON."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]
    text: str


def ask(port: int, path: str, body: object = None, *, method: str = "POST", **more: str) -> Answer:
    """Send JSON, with more headers."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        headers = {"content-type": "application/json"}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        connection.request(method, f"/{path}", json.dumps(body or {}), headers)
        answer = connection.getresponse()
        content = answer.read().decode()
    told = json.loads(content) if content.startswith("{") else {}
    sent = {name.lower(): it for name, it in answer.getheaders()}
    return Answer(answer.status, sent, told, content)


def test_a_recommendation_comes_as_json(gateway: Running) -> None:
    """Fields bear the names of the contract."""
    answer = ask(gateway.ports.http, RECOMMEND, {"user_id": "ana", "limit": 5})

    assert answer.status == 200
    assert len(answer.body["pins"]) == 5
    assert answer.body["pins"][0]["sources"]
    assert answer.body["list_id"]


def test_an_action_recorded_as_json_is_in_the_profile(gateway: Running) -> None:
    """Writes work, too; enums by their names."""
    action = {
        "action_id": "json-1",
        "user_id": "json-user",
        "pin_id": "typography-1",
        "action_type": "ACTION_TYPE_SAVE",
    }
    recorded = ask(gateway.ports.http, f"{PROFILE}/RecordActions", {"actions": [action]})
    answer = ask(gateway.ports.http, f"{PROFILE}/GetProfile", {"user_id": "json-user"})

    assert (recorded.status, recorded.body["codes"]) == (200, ["ACTION_CODE_RECORDED"])
    assert answer.status == 200
    assert answer.body["profile"]["clusters"][0]["medoid_pin_id"] == "typography-1"


def test_pins_are_looked_up_as_json(gateway: Running) -> None:
    """candidate_service is behind it as well."""
    method = "corkboard.candidate.v1.CandidateService/GetPins"
    answer = ask(gateway.ports.http, method, {"pin_ids": ["typography-1"]})

    assert answer.status == 200
    assert answer.body["pins"][0]["pin_id"] == "typography-1"


def test_curl_does(gateway: Running) -> None:
    """As a person at a prompt tries it."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl here")
    url = f"http://127.0.0.1:{gateway.ports.http}/{RECOMMEND}"
    done = subprocess.run(
        [curl, "--silent", "--show-error", "--fail", "-d", '{"user_id": "ana", "limit": 3}', url],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["pins"]) == 3


def test_a_bad_request_says_which_field(gateway: Running) -> None:
    """INVALID_ARGUMENT is 400, with the field in the body."""
    answer = ask(gateway.ports.http, RECOMMEND, {"user_id": "a", "limit": 501})

    assert answer.status == 400
    assert "limit" in answer.body["message"]


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("corkboard.ranking.v1.RankingService/NoSuchMethod", {}),
        (RECOMMEND, {"no_such_field": 1}),
        ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", {}),
        ("ready", {}),
        ("metrics", {}),
    ],
)
def test_what_is_not_in_the_contract_is_refused(
    gateway: Running, method: str, body: dict[str, Any]
) -> None:
    """No other method, field or service passes the gateway."""
    assert ask(gateway.ports.http, method, body).status in {400, 404}


def test_the_id_of_a_request_comes_back(gateway: Running) -> None:
    """So that the caller finds it in the services' logs."""
    answer = ask(gateway.ports.http, RECOMMEND, {"user_id": "ana"}, x_request_id="from-a-page")

    assert answer.headers["x-request-id"] == "from-a-page"


def test_messages_longer_than_envoys_own_bound_pass(gateway: Running) -> None:
    """Envoy holds 1 MiB of a request or an answer unless it is told otherwise."""
    pins = [{"pin_id": f"long-{at}", "title": "x" * 50_000} for at in range(50)]
    service = "corkboard.candidate.v1.CandidateService"
    written = ask(gateway.ports.http, f"{service}/UpsertPins", {"pins": pins})
    pin_ids = [pin["pin_id"] for pin in pins]
    answer = ask(gateway.ports.http, f"{service}/GetPins", {"pin_ids": pin_ids})

    assert written.status == 200, written.body
    assert answer.status == 200, answer.body
    assert len(json.dumps(answer.body)) > 2**21


@pytest.mark.parametrize(("path", "told"), [("ready", "LIVE"), ("metrics", "envoy_http_")])
def test_what_the_cluster_asks_is_told(gateway: Running, path: str, told: str) -> None:
    """Health and numbers have a port of their own, and the services' paths."""
    answer = ask(gateway.ports.metrics, path, method="GET")

    assert answer.status == 200
    assert told in answer.text


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("quitquitquit", "POST"),
        ("stats/prometheus", "GET"),
        ("ready", "POST"),
        ("config_dump", "GET"),
        ("ready/x", "GET"),
    ],
)
def test_the_admin_page_is_not(gateway: Running, path: str, method: str) -> None:
    """Nobody ends or reads the gateway from outside of its pod."""
    assert ask(gateway.ports.metrics, path, method=method).status == 404


def test_before_its_end_it_sends_its_callers_elsewhere(gateway: Running) -> None:
    """What the pod does before it is stopped, as it stands in the manifest: last of all tests."""
    command = gateway.published.container["lifecycle"]["preStop"]["exec"]["command"]
    script = command[-1].replace("/9901", f"/{gateway.ports.admin}").replace("sleep 15", "sleep 0")
    assert script.count(f"/{gateway.ports.admin}") == 1
    before = ask(gateway.ports.http, RECOMMEND, {"user_id": "ana"})
    subprocess.run([*command[:-1], script], check=True, timeout=20)
    deadline = time.monotonic() + 10
    while ask(gateway.ports.metrics, "ready", method="GET").status != 503:
        assert time.monotonic() < deadline, "it never said that it is not ready"
        time.sleep(0.05)
    after = ask(gateway.ports.http, RECOMMEND, {"user_id": "ana"})

    assert (before.status, after.status) == (200, 200), "it still serves"
    assert before.headers.get("connection") != "close"
    assert after.headers["connection"] == "close"
