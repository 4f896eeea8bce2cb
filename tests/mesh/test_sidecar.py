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

from service_runtime.access import Access, Credentials, Role
from service_runtime.errors import (
    DeadlineExceeded,
    NotAuthenticated,
    PermissionDenied,
    Unavailable,
)
from service_runtime.grpc_client import call, open_channel
from service_runtime.interceptors import remaining_seconds
from service_runtime.tls import TlsFiles
from tests.mesh.proxy import free_port, running, statistics
from tests.service_runtime.certificates import Authority, Pair
from tests.service_runtime.echo import METHOD, Echo, echo_method, make_server

RANKING = "spiffe://cluster.local/ns/corkboard/sa/ranking-service"
STRANGER = "spiffe://cluster.local/ns/elsewhere/sa/stranger"
ON_CALL = "spiffe://cluster.local/ns/corkboard/sa/on-call"
CALLS = 40
"""Without the rule that retries go to another host, none fails with chance 0.75**40 = 1e-5."""
ACCESS = f"""
trust_forwarded_identity = true
[callers.ranking]
identities = ["{RANKING}"]
roles = ["reader"]
[callers.on-call]
identities = ["{ON_CALL}", "cn:on-call"]
roles = ["reader", "operator"]
"""


class Mesh:
    """Two replicas of the echo service behind one sidecar.

    Attributes:
        port: Where the sidecar listens.
        admin_port: Where it tells its counters.
        authority: Who signs certificates here.
        is_failing: Whether the first replica answers with UNAVAILABLE.
        failed: How many calls it has answered so.
        seen: What replicas noted of the calls that they answered: seconds left, forwarded identity.
    """

    def __init__(self, folder: Path) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self.authority = Authority(folder)
        self.is_failing = False
        self.failed = 0
        self.seen: list[tuple[float, str]] = []

    def first(self, request: Any, context: grpc.ServicerContext) -> Any:
        """A replica that fails when told to."""
        if self.is_failing:
            self.failed += 1
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


@pytest.fixture
def access(tmp_path: Path) -> Access:
    """Roles by the identity that a sidecar has checked."""
    path = tmp_path / "access.toml"
    path.write_text(ACCESS)
    return Access(path, {METHOD: Role.READER, "/s/Erase": Role.OPERATOR})


def test_the_right_identity_is_let_in_and_told_to_the_server(mesh: Mesh, access: Access) -> None:
    """The header that the sidecar sets is what `trust_forwarded_identity` reads."""
    assert mesh.ask(RANKING).text == "hello"

    header = mesh.seen[-1][1]
    assert access.admit(METHOD, Credentials(forwarded=header)) == "ranking"
    with pytest.raises(NotAuthenticated):
        access.admit(METHOD, Credentials(forwarded=header.replace(RANKING, STRANGER)))


def test_a_header_of_the_callers_own_gives_it_no_other_identity(mesh: Mesh, access: Access) -> None:
    """What it claims arrives too, but what the sidecar has checked stands last and counts."""
    mesh.ask(RANKING, x_forwarded_client_cert=f"By=spiffe://x;URI={ON_CALL}")

    header = mesh.seen[-1][1]
    assert ON_CALL in header
    assert access.admit(METHOD, Credentials(forwarded=header)) == "ranking"
    with pytest.raises(PermissionDenied):
        access.admit("/s/Erase", Credentials(forwarded=header))


def test_a_subject_that_looks_like_a_header_gives_no_other_identity(
    mesh: Mesh, access: Access
) -> None:
    """Quotes, commas and pairs inside a certificate's subject stay inside it."""
    mesh.ask(RANKING, name='x";URI=cn:on-call,URI=cn:on-call;By="y')

    header = mesh.seen[-1][1]
    assert "URI=cn:on-call" in header
    assert access.admit(METHOD, Credentials(forwarded=header)) == "ranking"


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
    """UNAVAILABLE of one replica is retried, once and on the other: that one answers every call."""
    retries = "cluster.replicas.upstream_rq_retry"
    answered, repeated = len(mesh.seen), statistics(mesh.admin_port)[retries]
    mesh.is_failing = True
    try:
        answers = [mesh.ask(RANKING).text for _ in range(CALLS)]
    finally:
        mesh.is_failing = False

    assert answers == ["hello"] * CALLS
    assert len(mesh.seen) - answered == CALLS, "all by the second: the first one was failing"
    assert mesh.failed > 0
    assert statistics(mesh.admin_port)[retries] - repeated == mesh.failed


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
