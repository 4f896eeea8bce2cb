"""
Certificates of a server and of a channel, read from files and read again when the files change.

Whoever rotates certificates (cert-manager, SPIRE, a cron job) replaces the files; the next
handshake uses the new ones and connections under way go on. A replacement that does not fit
together, or is half-written, is refused with a log line and the old one goes on serving.
"""

import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc

from service_runtime.errors import ProcessFailed
from service_runtime.telemetry import logger

log = logger("tls")


class TlsFailed(ProcessFailed):
    """Certificate files are missing, unreadable, or do not belong together."""

    HINT = "check tls_certificate_file, tls_key_file, tls_client_ca_file and tls_ca_file"
    EXIT_CODE = 2


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """
    Where the certificates of one side are, all PEM.

    Attributes:
        certificate: Our own certificate and its chain; None = we have none.
        key: Its private key.
        ca: Who must have signed the other side's certificate. On a server: clients must show one
            (mutual TLS). None = any client; on a channel: the authorities of the system.
    """

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    def paths(self) -> tuple[Path, ...]:
        """Those that are given."""
        return tuple(path for path in (self.certificate, self.key, self.ca) if path is not None)


@dataclass(frozen=True, slots=True)
class _Pems:
    """Contents of the files at one moment."""

    certificate: bytes | None
    key: bytes | None
    ca: bytes | None


class CertificateSource:
    """
    The files' contents, read again when one of them has changed; safe from any number of threads.

    Raises:
        TlsFailed: The files cannot be used as they are now.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._signature = _signature(files)
        self._pems = _read(files)

    def current(self) -> _Pems:
        """The newest contents that fit together."""
        return self._pems

    def refresh(self) -> bool:
        """Look at the files; True if they have changed and what they hold now is used."""
        with self._lock:
            try:
                signature = _signature(self._files)
                if signature == self._signature:
                    return False
                pems = _read(self._files)
            except TlsFailed as error:
                log.error("tls.refused", error=error.message)  # noqa: TRY400  ours, says it all
                return False
            self._signature = signature
            is_new, self._pems = pems != self._pems, pems
        if is_new:
            log.info("tls.reloaded", files=[str(path) for path in self._files.paths()])
        return is_new


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """
    Credentials of a server that follow its files.

    Args:
        files: With certificate and key; with an authority, clients must show a certificate by it.

    Raises:
        TlsFailed: The files cannot be used.
    """
    source = CertificateSource(files)

    def configuration() -> Any:
        pems = source.current()
        assert pems.key is not None
        assert pems.certificate is not None
        return grpc.ssl_server_certificate_configuration(
            [(pems.key, pems.certificate)], root_certificates=pems.ca
        )

    def fetch() -> Any:
        return configuration() if source.refresh() else None

    return grpc.dynamic_ssl_server_credentials(
        configuration(), fetch, require_client_authentication=files.ca is not None
    )


class ChannelSource:
    """
    A channel's credentials, and whether it must be opened anew because they changed.

    Args:
        files: Our certificate and key, if the server wants one, and who signed the server's.

    Raises:
        TlsFailed: The files cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._source = CertificateSource(files)

    def has_changed(self) -> bool:
        """True once after a file has changed to something usable."""
        return self._source.refresh()

    def credentials(self) -> grpc.ChannelCredentials:
        """Credentials from the newest contents."""
        pems = self._source.current()
        return grpc.ssl_channel_credentials(
            root_certificates=pems.ca, private_key=pems.key, certificate_chain=pems.certificate
        )


class _FollowingMethod:
    """A method of whichever channel is current when it is called; as gRPC's own callables."""

    def __init__(
        self,
        current: Callable[[], grpc.Channel],
        method: str,
        arguments: tuple[Any, ...],
        named: Mapping[str, Any],
    ) -> None:
        self._current = current
        self._method = method  # where gRPC's own have it
        self._arguments = arguments
        self._named = named
        self._made: tuple[grpc.Channel, Any] | None = None

    def __call__(self, request: Any, **options: Any) -> Any:
        """Call and wait."""
        return self._behind()(request, **options)

    def future(self, request: Any, **options: Any) -> Any:
        """Call; the answer to come, which can be cancelled."""
        return self._behind().future(request, **options)

    def with_call(self, request: Any, **options: Any) -> Any:
        """Call and wait; the answer and what came with it."""
        return self._behind().with_call(request, **options)

    def _behind(self) -> Any:
        channel, made = self._current(), self._made
        if made is None or made[0] is not channel:
            own = channel.unary_unary(self._method, *self._arguments, **self._named)
            made = self._made = channel, own
        return made[1]


class FollowingChannel(grpc.Channel):
    """
    A channel that is opened anew, on the next call, when its certificates have changed.

    Args:
        opened: Makes a channel with the credentials of now.
        source: Says when they have changed; asked at most every *check_seconds*.
        clock: Monotonic seconds.
        check_seconds: See *source*.
    """

    def __init__(
        self,
        opened: Callable[[], grpc.Channel],
        source: ChannelSource,
        *,
        clock: Callable[[], float],
        check_seconds: float = 5.0,
    ) -> None:
        self._opened = opened
        self._source = source
        self._clock = clock
        self._check_seconds = check_seconds
        self._lock = threading.Lock()
        self._channel = opened()
        self._checked = clock()

    def _current(self) -> grpc.Channel:
        if self._clock() - self._checked < self._check_seconds:
            return self._channel
        with self._lock:
            if self._clock() - self._checked >= self._check_seconds:
                self._checked = self._clock()
                if self._source.has_changed():
                    self._channel = self._opened()  # the old one ends with its last call
            return self._channel

    def unary_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        """A method of whichever channel is current when it is called."""
        return _FollowingMethod(self._current, method, arguments, named)

    def unary_stream(self, method: str, *arguments: Any, **named: Any) -> Any:
        """A streaming method of the channel of now."""
        return self._current().unary_stream(method, *arguments, **named)

    def stream_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        """A streaming method of the channel of now."""
        return self._current().stream_unary(method, *arguments, **named)

    def stream_stream(self, method: str, *arguments: Any, **named: Any) -> Any:
        """A streaming method of the channel of now."""
        return self._current().stream_stream(method, *arguments, **named)

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:  # noqa: FBT001, FBT002  gRPC's signature
        """Hear of the channel's state."""
        self._current().subscribe(callback, bool(try_to_connect))

    def unsubscribe(self, callback: Any) -> None:
        """Hear no more."""
        self._current().unsubscribe(callback)

    def close(self) -> None:
        """Close it; calls under way are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _signature(files: TlsFiles) -> tuple[tuple[int, int, int], ...]:
    """What changes when a file is replaced or rewritten."""
    try:
        stats = [path.stat() for path in files.paths()]
    except OSError as error:
        raise TlsFailed(f"cannot read {error.filename}: {error.strerror}") from error
    return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)


def _read(files: TlsFiles) -> _Pems:
    """Read all files and see that they belong together, which gRPC would find out too late."""
    try:
        contents = [
            path.read_bytes() if path is not None else None
            for path in (files.certificate, files.key, files.ca)
        ]
    except OSError as error:
        raise TlsFailed(f"cannot read {error.filename}: {error.strerror}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        if files.certificate is not None and files.key is not None:
            context.load_cert_chain(files.certificate, files.key)
        if files.ca is not None:
            context.load_verify_locations(files.ca)
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(str(path) for path in files.paths())
        raise TlsFailed(f"certificate files do not fit together ({names}): {error}") from error
    if (files.certificate is None) != (files.key is None):
        raise TlsFailed("a certificate needs its key, and a key its certificate")
    return _Pems(*contents)
