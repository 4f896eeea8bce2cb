"""Encryption of our own: who gets in, and certificates that are replaced while serving."""

import io
import json
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service_runtime.access import Role
from service_runtime.config import ServiceConfig
from service_runtime.errors import CorkboardError, Unavailable
from service_runtime.grpc_client import call, channel_files, open_channel
from service_runtime.telemetry import configure_logging
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


def replace(pair: Pair, by: Pair) -> None:
    """Put another certificate and its key in a pair's place, as whoever rotates them does."""
    shutil.copy(by.certificate, pair.certificate)
    shutil.copy(by.key, pair.key)


def test_replaced_client_certificate_is_whom_the_server_sees(
    authority: Authority, tmp_path: Path
) -> None:
    """The same channel shows the new certificate, and access control goes by its common name."""
    client = authority.issue("before")
    access = tmp_path / "access.toml"
    access.write_text(
        '[callers.old-name]\nidentities = ["cn:before"]\nroles = ["operator"]\n'
        '[callers.new-name]\nidentities = ["cn:after"]\nroles = ["operator"]\n'
    )
    lines = io.BytesIO()
    configure_logging("info", "echo", stream=lines)  # an operator's calls are audited, with caller
    limits = {"tls_client_ca_file": authority.path, "access_file": access}
    files = TlsFiles(client.certificate, client.key, authority.path)
    with (
        secure_server(authority.issue("server"), roles={"Echo": Role.OPERATOR}, **limits) as port,
        open_channel(f"localhost:{port}", tls=files, attempts_max=1) as channel,
    ):
        method = echo_method(channel)
        call(method, Echo(text="x"), timeout_s=5)
        replace(client, authority.issue("after"))
        deadline = time.monotonic() + 20  # channels look at their files every 5 s
        while "new-name" not in callers(lines) and time.monotonic() < deadline:
            time.sleep(0.1)
            call(method, Echo(text="x"), timeout_s=5)
        call(method, Echo(text="x"), timeout_s=5)

    seen = callers(lines)
    assert list(dict.fromkeys(seen)) == ["old-name", "new-name"]
    assert seen[-2:] == ["new-name", "new-name"], "it does not go back"


def callers(lines: io.BytesIO) -> list[str]:
    """Who made each audited call, as access control named them."""
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    return [one["caller"] for one in told if one["event"] == "audit.recorded"]


def test_replaced_client_authority_decides_over_the_next_handshake(
    authority: Authority, tmp_path: Path
) -> None:
    """Old, both, new: each step of a rotation lets in whom it should, without a restart."""
    new_authority = Authority(tmp_path, "new")
    accepted = tmp_path / "accepted.pem"
    old_pem, new_pem = authority.path.read_text(), new_authority.path.read_text()
    accepted.write_text(old_pem)
    old, new = (
        TlsFiles(pair.certificate, pair.key, authority.path)
        for pair in (authority.issue("old"), new_authority.issue("renewed"))
    )
    with (
        secure_server(authority.issue("server"), tls_client_ca_file=accepted) as port,
        open_channel(f"localhost:{port}", tls=old, attempts_max=1) as under_way,
    ):
        method = echo_method(under_way)
        call(method, Echo(text="x"), timeout_s=5)
        served = {"old": (is_served(port, old), is_served(port, new))}
        accepted.write_text(old_pem + new_pem)
        served["both"] = (is_served(port, old), is_served(port, new))
        accepted.write_text(new_pem)
        served["new"] = (is_served(port, old), is_served(port, new))
        call(method, Echo(text="x"), timeout_s=5)  # a connection under way goes on

    assert served == {"old": (True, False), "both": (True, True), "new": (False, True)}


def is_served(port: int, files: TlsFiles) -> bool:
    """Whether a new connection with that certificate gets through the handshake."""
    try:
        ask(port, files)
    except Unavailable:
        return False
    return True


def test_channel_is_opened_anew_only_when_its_certificate_changes(authority: Authority) -> None:
    """Looking at unchanged files costs no connection; after a change there is one more."""
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
