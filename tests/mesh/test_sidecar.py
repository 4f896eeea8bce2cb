"""Behind a sidecar, as in Istio or Linkerd: a real Envoy with certificates in front of our servers.

The proxy asks callers for a certificate, lets in by SPIFFE identity, retries on another replica,
keeps the caller's deadline and can inject faults; the servers behind it speak plainly.
"""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from service_runtime.access import Credentials
from service_runtime.errors import DeadlineExceeded, Unavailable
from service_runtime.grpc_client import call, open_channel
from service_runtime.interceptors import remaining_seconds
from service_runtime.tls import TlsFiles
from tests.mesh.proxy import free_port, running, statistics
from tests.service_runtime.certificates import Authority, Pair
from tests.service_runtime.echo import Echo, echo_method, make_server

RANKING = "spiffe://cluster.local/ns/corkboard/sa/ranking-service"
STRANGER = "spiffe://cluster.local/ns/elsewhere/sa/stranger"


class Mesh:
    """Two replicas of the echo service behind one sidecar.

    Attributes:
        port: Where the sidecar listens.
        admin_port: Where it tells its counters.
        authority: Who signs certificates here.
        failing: Calls that the first replica still answers with UNAVAILABLE.
        seen: What replicas noted of calls: seconds left, forwarded identity.
    """

    def __init__(self, folder: Path) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self.authority = Authority(folder)
        self.failing = 0
        self.seen: list[tuple[float, str]] = []

    def first(self, request: Any, context: grpc.ServicerContext) -> Any:
        """A replica that fails when told to."""
        if self.failing > 0:
            self.failing -= 1
            raise Unavailable("this replica is going away")
        return self.second(request, context)

    def second(self, request: Any, context: grpc.ServicerContext) -> Any:
        """A replica that works."""
        forwarded = dict(context.invocation_metadata()).get("x-forwarded-client-cert", "")
        self.seen.append((remaining_seconds(), str(forwarded)))
        return request

    def ask(self, uri: str, *, timeout_s: float = 5.0, name: str = "", **headers: str) -> Any:
        """Call through the sidecar with a certificate of an identity."""
        pair = self.authority.issue(name or uri.rpartition("/")[2], uri=uri)
        files = TlsFiles(pair.certificate, pair.key, self.authority.path)
        with open_channel(f"localhost:{self.port}", tls=files, attempts_max=1) as channel:
            metadata = [(key.replace("_", "-"), value) for key, value in headers.items()]
            return call(
                echo_method(channel), Echo(text="hello"), timeout_s=timeout_s, metadata=metadata
            )


def sidecar(mesh: Mesh, server: Pair, ports: list[int]) -> dict[str, Any]:
    """Envoy's configuration for a mesh."""
    text = Path(__file__).with_name("sidecar.yaml").read_text()
    values = {
        "admin_port": mesh.admin_port,
        "port": mesh.port,
        "certificate": server.certificate,
        "key": server.key,
        "authority": mesh.authority.path,
        "identity": RANKING,
        "first": ports[0],
        "second": ports[1],
    }
    filled = re.sub(r"\$(\w+)", lambda found: str(values[found[1]]), text)
    config: dict[str, Any] = yaml.safe_load(filled)
    return config


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Two replicas behind a sidecar."""
    folder = tmp_path_factory.mktemp("mesh")
    mesh = Mesh(folder)
    behaviors: list[Callable[..., Any]] = [mesh.first, mesh.second]
    servers = [make_server(behavior) for behavior in behaviors]
    ports = [server.start() for server in servers]
    config = sidecar(mesh, mesh.authority.issue("sidecar"), ports)
    try:
        with running(config, folder, admin_port=mesh.admin_port):
            yield mesh
    finally:
        for server in servers:
            server.stop(0)


def test_the_right_identity_is_let_in_and_told_to_the_server(mesh: Mesh) -> None:
    """The header that the sidecar sets is what `trust_forwarded_identity` reads."""
    assert mesh.ask(RANKING).text == "hello"

    assert f"URI={RANKING}" in mesh.seen[-1][1]
    assert Credentials(forwarded=mesh.seen[-1][1]).forwarded


def test_another_identity_is_refused(mesh: Mesh) -> None:
    """A valid certificate of somebody else gets no further than the sidecar."""
    before = len(mesh.seen)
    with pytest.raises(Exception, match="RBAC"):
        mesh.ask(STRANGER)

    assert len(mesh.seen) == before


def test_no_certificate_no_connection(mesh: Mesh) -> None:
    """Plain text and TLS without a certificate are cut off."""
    for tls in (None, TlsFiles(ca=mesh.authority.path)):
        with (
            open_channel(f"localhost:{mesh.port}", tls=tls, attempts_max=1) as channel,
            pytest.raises(Unavailable),
        ):
            call(echo_method(channel), Echo(text="x"), timeout_s=5)


def test_a_failing_replica_is_not_seen_by_the_caller(mesh: Mesh) -> None:
    """UNAVAILABLE of one replica is retried on the other."""
    mesh.failing = 5
    answers = [mesh.ask(RANKING).text for _ in range(10)]

    assert answers == ["hello"] * 10
    assert statistics(mesh.admin_port)["cluster.replicas.upstream_rq_retry"] > 0
    mesh.failing = 0


def test_the_callers_deadline_reaches_the_server(mesh: Mesh) -> None:
    """grpc-timeout is kept, less what the way took."""
    mesh.ask(RANKING, timeout_s=3.0)

    assert 0 < mesh.seen[-1][0] <= 3.0


def test_an_injected_delay_ends_with_the_deadline(mesh: Mesh) -> None:
    """A slow network is answered with DEADLINE_EXCEEDED, in time."""
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        mesh.ask(RANKING, timeout_s=0.5, x_envoy_fault_delay_request="5000")

    assert time.monotonic() - begin < 4.0


def test_an_injected_fault_is_what_it_says(mesh: Mesh) -> None:
    """An abort of the mesh arrives as the same family that a service would raise."""
    with pytest.raises(Unavailable):
        mesh.ask(RANKING, x_envoy_fault_abort_grpc_request="14")
