"""Who may call what: deny by default, roles, identities, tokens, rates, and a file that changes."""

import contextlib
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
from service_runtime.grpc_server import Server
from service_runtime.telemetry import audit, configure_logging
from service_runtime.tls import TlsFiles
from tests.service_runtime.certificates import Authority
from tests.service_runtime.echo import (
    METHOD,
    SERVICE,
    Echo,
    Gate,
    echo_method,
    make_config,
    make_server,
    serving,
)

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


def test_a_subject_cannot_speak_for_another(path: Path) -> None:
    """What a certificate's subject quotes is no identity; several identities are nobody's."""
    path.write_text("trust_forwarded_identity = true\n" + FILE)
    access = Access(path, ROLES)
    for forwarded in (
        f'Hash=a;Subject="CN=x,OU=y;URI={RANKING}";URI=spiffe://evil',
        f"Hash=a;URI=spiffe://evil;URI={RANKING}",
    ):
        with pytest.raises(NotAuthenticated):
            access.admit("/s/Get", Credentials(forwarded=forwarded))


def test_a_certificate_of_two_callers_is_of_none(path: Path) -> None:
    """Names of one caller may be several; of two callers nobody knows which one calls."""
    path.write_text(FILE + '[callers.other]\nidentities = ["cn:other"]\nroles = ["reader"]\n')
    access = Access(path, ROLES)

    assert access.admit("/s/Get", Credentials((RANKING, "cn:ranking"))) == "ranking"
    with pytest.raises(NotAuthenticated, match="other and ranking"):
        access.admit("/s/Get", Credentials((RANKING, "cn:other")))


def test_a_call_meets_one_reading_of_the_file(path: Path) -> None:
    """A file that changes while a call is looked at decides over the next one, not over half."""
    clock = Hand()
    access = Access(path, ROLES, clock=clock)

    class Interrupted(str):
        """A name whose first look-up is interrupted by another call, after the file changed."""

        __slots__ = ()

        def __hash__(self) -> int:
            if clock.now == 0.0:
                clock.now = 10.0
                path.write_text(FILE.replace('"cn:ranking"', '"cn:renamed"'))
                os.utime(path, ns=(1, 1))
                access.admit("/s/Get", Credentials(token="secret"))
            return str.__hash__(self)

        def __eq__(self, other: object) -> bool:
            return str.__eq__(self, other)

    assert access.admit("/s/Get", Credentials((Interrupted("cn:ranking"),))) == "ranking"
    with pytest.raises(NotAuthenticated):
        access.admit("/s/Get", Credentials(("cn:ranking",)))


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
    assert access.admit("/s/Get", shop) == "shop"


def test_no_call_keeps_its_caller_out_for_long(path: Path) -> None:
    """Whoever sends a million at once is back after a minute."""
    clock = Hand()
    access, shop = Access(path, ROLES, clock=clock), Credentials(token="secret")

    access.admit("/s/Get", shop, count=1_000_000)
    clock.now = 60.4
    with pytest.raises(Exhausted):
        access.admit("/s/Get", shop)
    clock.now = 60.6
    assert access.admit("/s/Get", shop) == "shop"


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


def test_a_file_that_was_refused_is_tried_again(path: Path) -> None:
    """One that is mended within the same instant, or made readable, counts; faults are counted."""
    clock, refused = Hand(), []
    access = Access(path, ROLES, clock=clock, on_refused=lambda: refused.append(clock.now))
    for clock.now, text in ((10.0, "callers = 7"), (20.0, FILE)):
        path.write_text(text.replace('roles = ["operator"]', 'roles = ["operator", "reader"]'))
        os.utime(path, ns=(7, 7))
        access.admit("/s/Get", Credentials(("cn:ranking",)))

    assert access.admit("/s/Get", Credentials(token="root")) == "ops"
    assert refused == [10.0]


def test_a_change_of_others_gives_nobody_new_calls(path: Path) -> None:
    """Whoever used up its calls stays so when the file changes; a new rate begins anew."""
    clock, shop = Hand(), Credentials(token="secret")
    access = Access(path, ROLES, clock=clock)
    access.admit("/s/Get", shop, count=1_000)
    for clock.now, rate in ((10.0, 2), (20.0, 3)):
        path.write_text(FILE.replace("_max = 2", f"_max = {rate}"))
        os.utime(path, ns=(1, rate))
        access.admit("/s/Get", Credentials(("cn:ranking",)))  # looks at the file
        if rate == 2:
            with pytest.raises(Exhausted):
                access.admit("/s/Get", shop)

    assert access.admit("/s/Get", shop) == "shop"


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


def audited(lines: io.BytesIO) -> list[tuple[str, str, str]]:
    """Action, caller and code of every line of the audit log."""
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    return [
        (line["action"], line.get("caller", ""), line.get("code", ""))
        for line in told
        if line["event"] == "audit.recorded"
    ]


@pytest.fixture
def lines() -> Iterator[io.BytesIO]:
    """The log."""
    stream = io.BytesIO()
    configure_logging("info", "echo", stream=stream)
    yield stream
    configure_logging("warning", "tests")


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Metadata with a token."""
    return (("authorization", f"Bearer {token}"),)


def test_what_operators_do_is_audited(path: Path, lines: io.BytesIO) -> None:
    """An operator's call leaves a line with caller, method and result; a reader's does not."""
    for role, token in ((Role.OPERATOR, "root"), (Role.READER, "secret")):
        with serving(roles={"Echo": role}, access_file=path) as (_, method):
            call(method, Echo(text="x"), timeout_s=5, metadata=bearer(token))

    assert audited(lines) == [("Echo", "ops", "OK")]


def test_who_tried_what_is_for_operators_is_named(path: Path, lines: io.BytesIO) -> None:
    """A known caller without the role is in the audit log; a stranger only among the calls."""
    with serving(roles={"Echo": Role.OPERATOR}, access_file=path) as (_, method):
        with pytest.raises(PermissionDenied):
            call(method, Echo(text="x"), timeout_s=5, metadata=bearer("secret"))
        with pytest.raises(NotAuthenticated):
            call(method, Echo(text="x"), timeout_s=5, metadata=bearer("guess"))

    assert audited(lines) == [("Echo", "shop", "PERMISSION_DENIED")]
    assert b'"code":"UNAUTHENTICATED"' in lines.getvalue()


def test_what_a_service_audits_names_the_caller(path: Path, lines: io.BytesIO) -> None:
    """Also where no operator is needed, and without the service's help."""

    def behavior(request: Any, _: grpc.ServicerContext) -> Any:
        audit("Merged")
        return request

    with serving(behavior, roles={"Echo": Role.WRITER}, access_file=path) as (_, method):
        call(method, Echo(text="x"), timeout_s=5, metadata=bearer("secret"))

    assert audited(lines) == [("Merged", "shop", "")]


def test_looking_into_the_machine_is_audited(path: Path, lines: io.BytesIO) -> None:
    """Reflection: an operator, a reader who tries, and a stranger, who is only in the log."""
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    with (
        serving(roles={"Echo": Role.READER}, access_file=path) as (server, _),
        open_channel(f"127.0.0.1:{server.port}", attempts_max=1) as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        for token in ("root", "secret", "guess"):
            sent = (*bearer(token), ("x-request-id", f"of-{token}"))
            with contextlib.suppress(grpc.RpcError):
                list(stub.ServerReflectionInfo(iter([question]), timeout=5, metadata=sent))

    assert audited(lines) == [
        ("ServerReflectionInfo", "ops", "OK"),
        ("ServerReflectionInfo", "shop", "PERMISSION_DENIED"),
    ]
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    refused = [line for line in told if line["event"] == "call.finished"]
    assert [(line["code"], line["request_id"]) for line in refused] == [
        ("PERMISSION_DENIED", "of-secret"),
        ("UNAUTHENTICATED", "of-guess"),
    ]


@pytest.mark.parametrize(
    ("token", "error"), [("", NotAuthenticated), ("guess", NotAuthenticated), ("secret", Exhausted)]
)
def test_who_may_not_call_takes_no_place_in_the_queue(
    path: Path, token: str, error: type[Exception], lines: io.BytesIO
) -> None:
    """With the worker busy, strangers and callers beyond their rate hear so at once."""
    gate = Gate()
    path.write_text(FILE.replace("_max = 2", "_max = 1"))
    with serving(gate, worker_count=1, roles={"Echo": Role.READER}, access_file=path) as (
        server,
        method,
    ):
        held = method.future(Echo(text="x"), timeout=30, metadata=bearer("secret"))
        gate.wait_entered()
        sent = (*(bearer(token) if token else ()), ("x-request-id", "abc"))
        with pytest.raises(error) as refused:
            call(method, Echo(text="x"), timeout_s=5, metadata=sent)
        page = server.metrics.text()
        gate.open()
        assert held.result().text == "x"

    assert "echo_requests_waiting 0.0" in page
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    (line,) = [line for line in told if line.get("request_id") == "abc"]
    assert line["error"] == str(refused.value)
    assert f'echo_requests_total{{code="{line["code"]}",method="Echo"}} 1.0' in page


def test_a_refused_access_file_shows_in_the_metrics(path: Path) -> None:
    """There is something to ring at while the old rules go on deciding."""
    with serving(roles={"Echo": Role.READER}, access_file=path) as (server, _):
        assert "echo_access_file_refusals_total 0.0" in server.metrics.text()


def test_a_method_that_streams_is_never_served(path: Path) -> None:
    """Nothing would ask who calls it: its first call fails, whoever makes it."""

    def behavior(request: Any, _: grpc.ServicerContext) -> Iterator[Any]:
        yield request

    def add(server: grpc.Server) -> None:
        handler = grpc.unary_stream_rpc_method_handler(
            behavior, Echo.FromString, Echo.SerializeToString
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Echo": handler}),)
        )

    server = Server(
        make_config(access_file=path),
        name="echo",
        add_services=add,
        service_names=[SERVICE],
        roles={"Echo": Role.READER},
    )
    server.start()
    try:
        with open_channel(f"127.0.0.1:{server.port}", attempts_max=1) as channel:
            stream = channel.unary_stream(METHOD, Echo.SerializeToString, Echo.FromString)
            with pytest.raises(grpc.RpcError) as refused:
                list(stream(Echo(text="x"), timeout=5, metadata=bearer("secret")))
    finally:
        server.stop(0)

    assert refused.value.code() is grpc.StatusCode.UNKNOWN
