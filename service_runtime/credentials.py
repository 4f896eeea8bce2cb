"""
What a call brings along to say who calls, and how it is read from where it travels.

A token and the header of a sidecar travel in the call's metadata, known as soon as it arrives; the
names of a client's certificate only in the context of a call that a worker has taken up.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

TOKEN_KEY: Final = "authorization"  # noqa: S105  a header's name
"""Metadata key of a token: `authorization: Bearer <token>`."""
FORWARDED_KEY: Final = "x-forwarded-client-cert"
"""Metadata key under which a sidecar tells the identity of the caller that it has checked."""

_PAIR: Final = re.compile(r' *(\w*)=(?:"((?:[^"\\]|\\.)*)"|([^",;]*))(?:([;,])|$)')
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call brings along.

    Attributes:
        identities: Of the client's certificate: `spiffe://…` and other URIs, `cn:<common name>`.
        token: Without `Bearer `; empty = none.
        forwarded: The sidecar's header; empty = none.
    """

    identities: tuple[str, ...] = ()
    token: str = field(default="", repr=False)
    forwarded: str = ""


def sent_credentials(metadata: Iterable[Any]) -> Credentials:
    """
    Token and sidecar's header of a call.

    Args:
        metadata: Keys and values as the call sent them; of one key twice the last counts.
    """
    token = forwarded = ""
    for key, value in metadata:
        if key == TOKEN_KEY and isinstance(value, str) and value.lower().startswith("bearer "):
            token = value[7:].strip()
        elif key == FORWARDED_KEY and isinstance(value, str):
            forwarded = value
    return Credentials((), token, forwarded)


def with_certificate(sent: Credentials, auth: Mapping[str, Sequence[bytes]]) -> Credentials:
    """
    The same with the names of the client's certificate.

    Args:
        sent: What the metadata said.
        auth: gRPC's description of the connection; empty without TLS.
    """
    names = [*auth.get("spiffe_id", ()), *auth.get("peer_uri", ())]
    commons = [b"cn:" + name for name in auth.get("x509_common_name", ())]
    identities = dict.fromkeys(name.decode("utf-8", "replace") for name in (*names, *commons))
    return replace(sent, identities=tuple(identities)) if identities else sent


def forwarded_uris(header: str) -> tuple[str, ...]:
    """
    The different URIs in the last element of a sidecar's header, the one that our proxy added.

    Elements are parted by commas, their pairs by semicolons; a value in double quotes may hold
    both, and quotes behind a backslash. A certificate with several URIs has a pair for each. An
    empty URI counts as well: it says that the certificate had none.

    Args:
        header: `By=…;Hash=…;Subject="CN=a,OU=b";URI=spiffe://…`, as Envoy writes it.

    Returns:
        None at all if a quote does not end where its value ends: nobody can say what is inside.

    Source: Envoy, HTTP connection manager, x-forwarded-client-cert.
    """
    uris: list[str] = []
    place = 0
    while place < len(header):
        pair = _PAIR.match(header, place)
        if pair is None:
            return ()
        key, quoted, plain, end = pair.groups()
        if key.upper() == "URI":
            uris.append(plain if quoted is None else _ESCAPED.sub(r"\1", quoted))
        if end == ",":
            uris.clear()
        place = pair.end()
    return tuple(dict.fromkeys(uris))
