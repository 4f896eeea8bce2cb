"""Encryption of our own: who gets in, and certificates that are replaced while serving."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service_runtime.config import ServiceConfig
from service_runtime.errors import CorkboardError, Unavailable
from service_runtime.grpc_client import call, channel_files, open_channel
from service_runtime.tls import (
    CertificateSource,
    ChannelSource,
    FollowingChannel,
    TlsFailed,
    TlsFiles,
)
from tests.service_runtime.certificates import Authority, Pair
from tests.service_runtime.echo import Echo, echo_method, make_server


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the certificates of a test."""
    return Authority(tmp_path)


@contextmanager
def secure_server(pair: Pair, **fields: Any) -> Iterator[int]:
    """A server of the echo method that shows a certificate; its port."""
    server = make_server(tls_certificate_file=pair.certificate, tls_key_file=pair.key, **fields)
    server.start()
    try:
        yield server.port
    finally:
        server.stop(0)


def ask(port: int, tls: TlsFiles | None, **options: Any) -> str:
    """Call the echo method over a connection of its own."""
    with open_channel(f"localhost:{port}", tls=tls, attempts_max=1, **options) as channel:
        answer = call(echo_method(channel), Echo(text="hello"), timeout_s=5)
    return str(answer.text)


def test_a_client_that_trusts_the_authority_is_served(authority: Authority) -> None:
    """A server with a certificate talks to whoever trusts who signed it."""
    with secure_server(authority.issue("server")) as port:
        answer = ask(port, TlsFiles(ca=authority.path))

    assert answer == "hello"


def test_an_encrypted_call_can_be_waited_for_and_cancelled(authority: Authority) -> None:
    """Calls made for a caller of ours are futures, so that they end when the caller goes."""
    with (
        secure_server(authority.issue("server")) as port,
        open_channel(f"localhost:{port}", tls=TlsFiles(ca=authority.path)) as channel,
    ):
        method = echo_method(channel)
        future = method.future(Echo(text="hello"), timeout=5)
        answer, told = method.with_call(Echo(text="again"), timeout=5)

        assert future.result().text == "hello"
        assert answer.text == "again"
        assert told.code() is grpc.StatusCode.OK


def test_plain_text_and_foreign_authorities_are_cut_off(
    authority: Authority, tmp_path: Path
) -> None:
    """Without encryption, or trusting somebody else, there is no connection."""
    other = Authority(tmp_path, "other")
    with secure_server(authority.issue("server")) as port:
        for tls in (None, TlsFiles(ca=other.path)):
            with pytest.raises(Unavailable):
                ask(port, tls)


def test_mutual_tls_wants_a_certificate_by_our_authority(
    authority: Authority, tmp_path: Path
) -> None:
    """With tls_client_ca_file nobody is served without a certificate by that authority."""
    ours, theirs = authority.issue("client"), Authority(tmp_path, "other").issue("stranger")
    with secure_server(authority.issue("server"), tls_client_ca_file=authority.path) as port:
        answer = ask(port, TlsFiles(ours.certificate, ours.key, authority.path))
        for files in (
            TlsFiles(ca=authority.path),
            TlsFiles(theirs.certificate, theirs.key, authority.path),
        ):
            with pytest.raises(Unavailable):
                ask(port, files)

    assert answer == "hello"


def test_replaced_server_certificate_is_shown_without_restart(
    authority: Authority, tmp_path: Path
) -> None:
    """The next handshake after a replacement shows the new certificate."""
    new_authority = Authority(tmp_path, "new")
    pair, new_pair = authority.issue("server"), new_authority.issue("server_new")
    with secure_server(pair) as port:
        ask(port, TlsFiles(ca=authority.path))
        with pytest.raises(Unavailable):
            ask(port, TlsFiles(ca=new_authority.path))
        shutil.copy(new_pair.certificate, pair.certificate)
        shutil.copy(new_pair.key, pair.key)

        assert ask(port, TlsFiles(ca=new_authority.path)) == "hello"


def test_half_written_replacement_is_refused_and_the_old_one_serves(authority: Authority) -> None:
    """A certificate without its key is never shown."""
    pair = authority.issue("server")
    with secure_server(pair) as port:
        pair.certificate.write_bytes(authority.issue("another").certificate.read_bytes())

        assert ask(port, TlsFiles(ca=authority.path)) == "hello"


def test_channel_is_opened_anew_when_its_certificate_changes(authority: Authority) -> None:
    """A client whose certificate was replaced shows the new one, on the same channel object."""
    client, other = authority.issue("client"), authority.issue("renewed")
    source = ChannelSource(TlsFiles(client.certificate, client.key, authority.path))
    opened: list[Any] = []
    now = [0.0]

    def opener() -> Any:
        opened.append(open_channel("localhost:1"))
        return opened[-1]

    with FollowingChannel(opener, source, clock=lambda: now[0]) as channel:
        method = echo_method(channel)
        for seconds in (1.0, 10.0):
            now[0] = seconds
            with pytest.raises(Unavailable):
                call(method, Echo(text="x"), timeout_s=1)
        count_before = len(opened)
        shutil.copy(other.certificate, client.certificate)
        shutil.copy(other.key, client.key)
        now[0] = 20.0
        with pytest.raises(Unavailable):
            call(method, Echo(text="x"), timeout_s=1)

    assert count_before == 1
    assert len(opened) == 2


@pytest.mark.parametrize("damage", ["missing", "garbage", "foreign key", "bad authority"])
def test_unusable_files_end_the_start_with_their_names(authority: Authority, damage: str) -> None:
    """What cannot work is refused at the start, naming the file."""
    pair, other = authority.issue("server"), authority.issue("other")
    files = TlsFiles(pair.certificate, pair.key, authority.path)
    if damage == "missing":
        pair.key.unlink()
    elif damage == "garbage":
        pair.certificate.write_text("no certificate")
    elif damage == "foreign key":
        shutil.copy(other.key, pair.key)
    else:
        authority.path.write_text("no authority")

    with pytest.raises(TlsFailed, match=r"server|authority"):
        CertificateSource(files)


def test_settings_of_certificates_need_each_other() -> None:
    """A certificate without its key is a fault of the settings, found before anything starts."""
    with pytest.raises(ValueError, match="need each other"):
        ServiceConfig(tls_certificate_file=Path("a.pem"))
    with pytest.raises(ValueError, match="needs tls_certificate_file"):
        ServiceConfig(tls_client_ca_file=Path("ca.pem"))


def test_a_service_calls_others_as_its_settings_say() -> None:
    """Without tls_ca_file channels are plain; with it they show the service's own certificate."""
    plain = channel_files(ServiceConfig())
    files = channel_files(
        ServiceConfig(tls_certificate_file=Path("a"), tls_key_file=Path("b"), tls_ca_file=Path("c"))
    )

    assert plain is None
    assert files == TlsFiles(Path("a"), Path("b"), Path("c"))


def test_probes_reach_a_plain_port_that_has_nothing_else(authority: Authority) -> None:
    """Kubernetes' gRPC probes speak no TLS: health answers there, and no other method."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        health_port = free.getsockname()[1]
    with (
        secure_server(authority.issue("server"), health_port=health_port),
        open_channel(f"localhost:{health_port}", attempts_max=1) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        with pytest.raises(CorkboardError, match="Method not found"):
            call(echo_method(channel), Echo(text="x"), timeout_s=5)

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
