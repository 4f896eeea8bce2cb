"""Who may call what: deny by default, roles, identities, tokens, rates, and a file that changes."""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service_runtime.access import Access, AccessFailed, Credentials, Role
from service_runtime.errors import Exhausted, NotAuthenticated, PermissionDenied
from service_runtime.grpc_client import call, open_channel
from service_runtime.telemetry import configure_logging
from service_runtime.tls import TlsFiles
from tests.service_runtime.certificates import Authority
from tests.service_runtime.echo import METHOD, Echo, echo_method, make_server

RANKING = "spiffe://corkboard/ranking"


# ruff: noqa: S106  tokens of a test


def sha256(token: str) -> str:
    """A token as the file holds it."""
    return hashlib.sha256(token.encode()).hexdigest()


FILE = f"""
[callers.ranking]
identities = ["{RANKING}", "cn:ranking"]
roles = ["reader"]

[callers.shop]
tokens_sha256 = ["{sha256("secret")}"]
roles = ["reader", "writer"]
calls_per_second_max = 2

[callers.ops]
tokens_sha256 = ["{sha256("root")}"]
roles = ["operator"]
"""
ROLES = {"/s/Get": Role.READER, "/s/Put": Role.WRITER, "/s/Erase": Role.OPERATOR}


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Its time."""
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An access file."""
    path = tmp_path / "access.toml"
    path.write_text(FILE)
    return path


def test_callers_are_known_by_certificate_or_token(path: Path) -> None:
    """A URI, a common name and a token each name their caller."""
    access = Access(path, ROLES)

    assert access.admit("/s/Get", Credentials((RANKING,))) == "ranking"
    assert access.admit("/s/Get", Credentials(("cn:ranking",))) == "ranking"
    assert access.admit("/s/Put", Credentials(token="secret")) == "shop"


@pytest.mark.parametrize(
    "credentials",
    [Credentials(), Credentials(("cn:nobody",)), Credentials(token="guess"), Credentials(token="")],
)
def test_nobody_else_gets_in(path: Path, credentials: Credentials) -> None:
    """Without known credentials nothing may be called."""
    with pytest.raises(NotAuthenticated):
        Access(path, ROLES).admit("/s/Get", credentials)


def test_each_method_needs_its_role_and_an_unlisted_one_is_for_nobody(path: Path) -> None:
    """Roles do not include each other; what has no role is refused to all."""
    access = Access(path, ROLES)
    for method, token in (("/s/Erase", "secret"), ("/s/Get", "root"), ("/s/New", "root")):
        with pytest.raises(PermissionDenied):
            access.admit(method, Credentials(token=token))

    assert access.admit("/s/Erase", Credentials(token="root")) == "ops"


def test_forwarded_identity_counts_only_where_it_is_trusted(path: Path) -> None:
    """The header of a sidecar is worth nothing unless the file says that there is a sidecar."""
    forwarded = Credentials(forwarded=f"By=spiffe://x;URI=spiffe://evil,By=a;Hash=b;URI={RANKING}")
    with pytest.raises(NotAuthenticated):
        Access(path, ROLES).admit("/s/Get", forwarded)
    path.write_text("trust_forwarded_identity = true\n" + FILE)
    access = Access(path, ROLES)

    assert access.admit("/s/Get", forwarded) == "ranking"
    with pytest.raises(NotAuthenticated):  # an earlier element was written by the caller itself
        access.admit("/s/Get", Credentials(forwarded=f"URI={RANKING},By=a;URI=spiffe://evil"))


def test_rate_limit_refuses_with_the_time_to_wait(path: Path) -> None:
    """Two calls a second: the third at once is refused, half a second later one more may come."""
    clock = Hand()
    access = Access(path, ROLES, clock=clock)
    shop = Credentials(token="secret")
    for _ in range(2):
        access.admit("/s/Get", shop)
    with pytest.raises(Exhausted) as refused:
        access.admit("/s/Get", shop)
    clock.now = 0.5

    assert refused.value.retry_after_s == pytest.approx(0.5)
    assert access.admit("/s/Get", shop) == "shop"


def test_a_batch_counts_as_the_calls_in_it(path: Path) -> None:
    """It is let through if there is a call left; the next one waits until all are paid for."""
    clock = Hand()
    access, shop = Access(path, ROLES, clock=clock), Credentials(token="secret")

    access.admit("/s/Get", shop, count=11)
    clock.now = 4.9
    with pytest.raises(Exhausted) as told:
        access.admit("/s/Get", shop)
    assert told.value.retry_after_s == pytest.approx(0.1)
    clock.now = 5.1
    access.admit("/s/Get", shop)


def test_no_call_keeps_its_caller_out_for_long(path: Path) -> None:
    """Whoever sends a million at once is back after a minute."""
    clock = Hand()
    access, shop = Access(path, ROLES, clock=clock), Credentials(token="secret")

    access.admit("/s/Get", shop, count=1_000_000)
    clock.now = 60.6
    access.admit("/s/Get", shop)


def test_changed_file_decides_soon_and_a_bad_one_never(path: Path) -> None:
    """A replaced file is read within seconds; one that cannot be used leaves the old rules."""
    clock = Hand()
    access = Access(path, ROLES, clock=clock)
    path.write_text(FILE.replace('roles = ["operator"]', 'roles = ["operator", "reader"]'))
    os.utime(path, ns=(1, 1))
    clock.now = 10.0
    allowed = access.admit("/s/Get", Credentials(token="root"))
    path.write_text("callers = 7")
    clock.now = 20.0

    assert allowed == "ops"
    assert access.admit("/s/Get", Credentials(token="root")) == "ops"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "callers"),
        ("[callers.a]\nroles = []", "callers.a.roles"),
        ('[callers.a]\nroles = ["king"]', "callers.a.roles"),
        ('[callers.a]\nroles = ["reader"]\ntokens_sha256 = ["secret"]', "tokens_sha256"),
        ('[callers.a]\nroles = ["reader"]\nidentities = ["ranking"]', "identities"),
        ('[callers.a]\nroles = ["reader"]\ncolour = 1', "colour"),
        (
            "".join(f'[callers.{at}]\nidentities = ["cn:x"]\nroles = ["reader"]\n' for at in "ab"),
            "in common",
        ),
        ("[callers", "access.toml"),
    ],
)
def test_bad_file_is_refused_with_the_place(path: Path, text: str, said: str) -> None:
    """A file that could let the wrong one in is refused at the start."""
    path.write_text(text)

    with pytest.raises(AccessFailed, match=said):
        Access(path, ROLES)


@pytest.fixture
def secured(tmp_path: Path, path: Path) -> Iterator[tuple[int, Authority]]:
    """A server with mutual TLS and limited access, where the echo method is for readers."""
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    server = make_server(
        roles={"Echo": Role.READER},
        tls_certificate_file=pair.certificate,
        tls_key_file=pair.key,
        tls_client_ca_file=authority.path,
        access_file=path,
    )
    server.start()
    yield server.port, authority
    server.stop(0)


def _channel(port: int, authority: Authority, name: str, *, uri: str = "", **more: Any) -> Any:
    pair = authority.issue(name, uri=uri)
    files = TlsFiles(pair.certificate, pair.key, authority.path)
    return open_channel(f"localhost:{port}", tls=files, attempts_max=1, **more)


def test_identity_of_the_certificate_decides_over_the_wire(
    secured: tuple[int, Authority],
) -> None:
    """A reader by its SPIFFE URI or common name is served; a valid certificate alone is not."""
    port, authority = secured
    for name, uri in (("a", RANKING), ("ranking", "")):
        with _channel(port, authority, name, uri=uri) as channel:
            assert call(echo_method(channel), Echo(text="x"), timeout_s=5).text == "x"
    with _channel(port, authority, "stranger") as channel, pytest.raises(NotAuthenticated):
        call(echo_method(channel), Echo(text="x"), timeout_s=5)


def test_token_file_is_shown_and_followed(secured: tuple[int, Authority], tmp_path: Path) -> None:
    """A channel shows the token of its file, and the new one after the file changed."""
    port, authority = secured
    token = tmp_path / "token"
    token.write_text("wrong\n")
    with _channel(port, authority, "anyone", token_file=token) as channel:
        with pytest.raises(NotAuthenticated):
            call(echo_method(channel), Echo(text="x"), timeout_s=5)
        token.write_text("secret\n")
        os.utime(token, ns=(1, 1))

        assert call(echo_method(channel), Echo(text="x"), timeout_s=5).text == "x"


def test_health_is_for_all_and_reflection_for_operators(secured: tuple[int, Authority]) -> None:
    """Probes work without credentials; looking into the machine needs the operator's role."""
    port, authority = secured
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    with _channel(port, authority, "probe") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.ServerReflectionInfo(iter([question]), timeout=5))
        root = (("authorization", "Bearer root"),)
        told = list(stub.ServerReflectionInfo(iter([question]), timeout=5, metadata=root))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert told[0].list_services_response.service


def test_what_operators_do_is_audited(path: Path) -> None:
    """An operator's call leaves a line with caller, method and result; a reader's does not."""
    lines = io.BytesIO()
    configure_logging("info", "echo", stream=lines)
    for role, token in ((Role.OPERATOR, "root"), (Role.READER, "secret")):
        server = make_server(roles={"Echo": role}, access_file=path)
        server.start()
        with open_channel(f"localhost:{server.port}", attempts_max=1) as channel:
            shown = (("authorization", f"Bearer {token}"),)
            call(echo_method(channel), Echo(text="x"), timeout_s=5, metadata=shown)
        server.stop(0)

    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    audited = [line for line in told if line["event"] == "audit.recorded"]
    assert [(line["action"], line["caller"], line["code"]) for line in audited] == [
        (METHOD.rpartition("/")[2], "ops", "OK")
    ]
