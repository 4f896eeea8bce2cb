"""
The life of a server process, one way for all services.

    load config → build → bind → NOT_SERVING → warm up → SERVING → ready line on stdout
    (with reuse_port it binds after the warm-up; with processes > 1 see supervisor.py)
    SIGTERM or SIGINT → NOT_SERVING → wait → finish running calls → close → exit 0

A second signal cuts the drain short (running calls are cancelled, stores are still closed); a third
ends the process at once. Exit codes: 0 ended as asked, 1 could not start, go on or close, 2 bad
config.
"""

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import grpc
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service_runtime import validation
from service_runtime.access import Access, Role
from service_runtime.blas import use_one_blas_thread
from service_runtime.certificate_expiry import show_expiry
from service_runtime.config import ServiceConfig, load_config, print_config
from service_runtime.data_root import check_data_root
from service_runtime.errors import BindFailed, CorkboardError, ProcessFailed
from service_runtime.interceptors import CallInterceptor
from service_runtime.stop_requests import SignalHandlers, StopAsked, StopRequests
from service_runtime.supervisor import end_with_supervisor, supervise
from service_runtime.telemetry import Metrics, configure_logging, keep_audit, logger, use_log_key
from service_runtime.tls import TlsFiles, server_credentials
from service_runtime.worker_pool import Pools

ConfigT = TypeVar("ConfigT", bound=ServiceConfig)

STUCK_SECONDS_MAX = 5.0
"""How long cancelled calls may go on before the process ends without closing its stores."""

GC_THRESHOLDS = (20_000, 20, 50)
"""When Python looks for reference cycles; with its own (700, 10, 10) that took 15 % of a call."""

log = logger("server")


def _nothing() -> None:
    """Stands for a step that a service does not need."""


class Server:
    """
    A gRPC server with health, reflection, channelz, metrics page, warm-up and drain.

    Args:
        config: Address, limits, times.
        name: Of the service, `profile_service`.
        add_services: Registers the servicers: `add_ProfileServiceServicer_to_server(servicer, s)`.
        service_names: Full names of these services, for health and reflection.
        warm_up: Called once the port is bound and before SERVING; what it raises ends the start.
        close: Called when no call runs any more; closes stores. Also after a failed warm-up.
        metrics: The service's own; None = made here.
        interceptors: Further ones, run before ours.
        roles: What callers need for each method, by its bare name; read where access is limited.
        subject_field: Field of requests that says whom they are about; its hash goes into the log.
    """

    def __init__(
        self,
        config: ServiceConfig,
        *,
        name: str,
        add_services: Callable[[grpc.Server], None],
        service_names: Sequence[str],
        warm_up: Callable[[], None] = _nothing,
        close: Callable[[], None] = _nothing,
        metrics: Metrics | None = None,
        interceptors: Sequence[grpc.ServerInterceptor] = (),
        roles: Mapping[str, Role] | None = None,
        subject_field: str = "",
    ) -> None:
        self.config = config
        self.name = name
        self.metrics = metrics or Metrics(name)
        self.port = 0
        self.metrics_port = 0
        self._service_names = tuple(service_names)
        self._warm_up = warm_up
        self._close = close
        self.stop_requests = StopRequests()
        self._stopped: bool | None = None
        self.failure = ""
        self._pools = Pools(config.workers())
        access = _open_access(config, self._service_names, roles or {}, self.metrics)
        self._calls = CallInterceptor(
            name, config, self.metrics, self._pools, access, subject_field
        )
        self._health = health.HealthServicer()
        self._probes: grpc.Server | None = None
        self._grpc = grpc.server(
            self._pools.calls,
            interceptors=[*interceptors, self._calls],
            options=_options(config),
            # Far above our own bound: only keeps streams of reflection and channelz from piling up.
            maximum_concurrent_rpcs=config.workers() + config.queue_count_max + 1024,
        )
        add_services(self._grpc)
        self._add_own_services()

    def start(self) -> int:
        """
        Bind, warm up, serve.

        Returns:
            The port, also if 0 (any free one) was configured.

        Raises:
            BindFailed: An address cannot be had.
            Exception: What warm_up raised; everything is closed again by then.
        """
        started = time.monotonic()
        try:
            # Where others serve on the port meanwhile, nobody should meet us before we can answer.
            if not self.config.reuse_port:
                self._listen()
            validation.prepare(self._service_names)
            use_one_blas_thread()
            gc.set_threshold(*GC_THRESHOLDS)
            self._warm_up()
            if self.config.reuse_port:
                self._listen()
        except BaseException:
            self.stop(0)
            raise
        self._set_serving(is_serving=True)
        seconds = round(time.monotonic() - started, 3)
        log.info("server.became_ready", port=self.port, seconds=seconds)
        return self.port

    def _listen(self) -> None:
        """Bind all ports and begin to answer, with NOT_SERVING at first."""
        self.port = self._bind()
        if self.config.metrics_port and self.config.process_number:
            self.metrics_port = self.metrics.serve("127.0.0.1", 0)  # the supervisor asks for it
        elif self.config.metrics_port:
            self.metrics_port = self.metrics.serve(self.config.host, self.config.metrics_port)
        self._grpc.start()
        self._serve_probes()
        log.info("server.started", port=self.port, worker_count=self.config.workers())

    def ask_to_stop(self) -> None:
        """Let wait() return soon; may be called from any thread."""
        self.stop_requests.ask()

    def fail(self, reason: str) -> None:
        """Drain and end with exit code 1, so that another process is started; from any thread."""
        if not self.failure:
            self.failure = reason
            log.error("server.failed", reason=reason)
            self.ask_to_stop()

    def wait(self) -> bool:
        """
        Serve until asked to stop, then drain and close.

        Returns:
            See stop.
        """
        log.info("server.stop_asked", by=self.stop_requests.wait())
        return self.stop()

    def stop(self, grace: float | None = None) -> bool:
        """
        Report NOT_SERVING, let running calls finish, close. Once; later calls change nothing.

        Args:
            grace: Seconds for running calls, then they are cancelled; None = the configured drain
                with its wait for load balancers, cut short by another ask_to_stop.

        Returns:
            True if all ended in order; False if a call would not end, so that nothing was closed.
        """
        if self._stopped is not None:
            return self._stopped
        self._stopped = False
        was_serving = self._calls.is_ready
        self._health.enter_graceful_shutdown()
        if (
            grace is None
            and was_serving
            and self.stop_requests.wait(self.config.drain_wait_seconds)
        ):
            grace = 0.0
        ended = self._grpc.stop(self.config.drain_seconds if grace is None else grace)
        while not ended.wait(0.02):
            if self.stop_requests.wait(0):
                self._grpc.stop(None)
        self._stopped = self._finish()
        return self._stopped

    def _finish(self) -> bool:
        self._pools.shut_down()
        deadline = time.monotonic() + STUCK_SECONDS_MAX
        while not (is_idle := self._pools.is_idle()) and time.monotonic() < deadline:
            time.sleep(0.005)
        if is_idle:
            self._close()
        else:  # closing a store under a running call could damage memory; a crash cannot hurt it
            log.error("server.call_stuck", seconds=STUCK_SECONDS_MAX)
        if self._probes is not None:
            self._probes.stop(None)
        self.metrics.close()
        self._calls.lines.close()
        self._calls.tracing.close()
        log.info("server.stopped", is_clean=is_idle)
        return is_idle

    def _address(self, port: int) -> str:
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"{host}:{port}"

    def _serve_probes(self) -> None:
        """Answer health checks without encryption, on a port that has nothing else."""
        if not self.config.health_port:
            return
        address = self._address(self.config.health_port)
        self._probes = grpc.server(self._pools.health, maximum_concurrent_rpcs=64)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probes)
        try:
            self._probes.add_insecure_port(address)
        except RuntimeError as error:
            raise BindFailed(f"{self.name} cannot listen on {address} for probes") from error
        self._probes.start()

    def _bind(self) -> int:
        address = self._address(self.config.port)
        try:
            if self.config.tls_certificate_file is None:
                port = self._grpc.add_insecure_port(address)
            else:
                port = self._grpc.add_secure_port(address, server_credentials(_files(self.config)))
                show_expiry(self.metrics, _files(self.config))
        except RuntimeError as error:
            raise BindFailed(f"{self.name} cannot listen on {address}") from error
        if port == 0:
            raise BindFailed(f"{self.name} cannot listen on {address}")
        return port

    def _add_own_services(self) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        channelz.add_channelz_servicer(self._grpc)
        names = (*self._service_names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection((*names, "grpc.channelz.v1.Channelz"), self._grpc)
        self._set_serving(is_serving=False)

    def _set_serving(self, *, is_serving: bool) -> None:
        self._calls.is_ready = is_serving
        statuses = health_pb2.HealthCheckResponse
        status = statuses.SERVING if is_serving else statuses.NOT_SERVING
        for name in ("", *self._service_names):
            self._health.set(name, status)


def _files(config: ServiceConfig) -> TlsFiles:
    """The server's side of the certificates."""
    return TlsFiles(config.tls_certificate_file, config.tls_key_file, config.tls_client_ca_file)


def _open_access(
    config: ServiceConfig,
    service_names: Sequence[str],
    roles: Mapping[str, Role],
    metrics: Metrics,
) -> Access | None:
    """Who may call what; None where everybody may."""
    if config.access_file is None:
        return None
    named = {
        f"/{service}/{method}": role for service in service_names for method, role in roles.items()
    }
    refusals = metrics.counter(
        "access_file_refusals", "Looks at a changed access file that could not be used."
    )
    return Access(config.access_file, named, on_refused=refusals.inc)


def run_service(
    *,
    name: str,
    config_class: type[ConfigT],
    build: Callable[[ConfigT], Server],
    arguments: Sequence[str] | None = None,
) -> int:
    """
    Run the whole `__main__` of a service: `sys.exit(run_service(...))`.

    Args:
        name: Of the service, `profile_service`.
        config_class: Its settings.
        build: Wires the service; opens files, starts nothing.
        arguments: Command line without the program; None = this process's.

    Returns:
        Exit code. Does not return after a third signal, or when a call would not end.
    """
    prefix = str(config_class.model_config.get("env_prefix", "")) or f"{name.upper()}_"
    options = _parse(name, arguments)
    try:
        config = load_config(
            config_class, path=options.config, env_prefix=prefix, overrides=options.set
        )
        if not options.print_config:
            use_log_key(config.log_key_file)
            check_data_root(config.data_root)
    except ProcessFailed as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201  no logging before there is a config
        return error.EXIT_CODE
    if options.print_config:
        print(print_config(config, env_prefix=prefix))  # noqa: T201  asked for
        return 0
    configure_logging(config.log_level, name)
    keep_audit(config.data_root, name)
    if config.processes > 1 and not config.process_number:
        return supervise(name, config)
    return _serve(config, build)


def _serve(config: ConfigT, build: Callable[[ConfigT], Server]) -> int:
    handlers = SignalHandlers()
    server: Server | None = None
    try:
        server = build(config)
        server.stop_requests.listen_to_signals()
        if config.process_number:
            end_with_supervisor(server.ask_to_stop)
        server.start()
        handlers.is_starting = False
        _say_ready(server)
        is_clean = server.wait()
    except StopAsked:
        handlers.is_starting = False
        is_clean = server is None or server.stop(0)
        log.info("server.stopped_before_ready")
    except CorkboardError as error:
        log.error("server.start_failed", error=error.message, hint=error.hint)  # noqa: TRY400  ours: the message says it all
        return error.EXIT_CODE if isinstance(error, ProcessFailed) else 1
    except Exception as error:
        log.exception("server.start_failed", error=f"{type(error).__name__}: {error}")
        return 1
    if not is_clean:
        os._exit(1)  # a thread that will not end would keep the process for ever
    return 1 if server is not None and server.failure else 0


def _say_ready(server: Server) -> None:
    line = {"event": "ready", "service": server.name, "port": server.port}
    if server.metrics_port:
        line["metrics_port"] = server.metrics_port
    try:
        print(json.dumps(line), flush=True)  # noqa: T201  whoever started us waits for it
    except OSError:  # nobody listens: serve all the same, and do not stumble over it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _options(config: ServiceConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(config.reuse_port)),
        ("grpc.max_receive_message_length", config.request_bytes_max),
        ("grpc.max_send_message_length", config.request_bytes_max),
        # Above the first gRPC refuses some calls, above the second all: one limit is clearer.
        ("grpc.max_metadata_size", config.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", config.metadata_bytes_max),
        ("grpc.max_concurrent_streams", config.stream_count_max),
        ("grpc.max_connection_age_ms", round(config.connection_age_seconds_max * 1000)),
        # No call may last longer, so none is cut off by it.
        ("grpc.max_connection_age_grace_ms", round(config.deadline_seconds_max * 1000)),
        ("grpc.enable_channelz", 1),
        # Clients may test their connections every 10 s; gRPC's default calls that abuse.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _parse(name: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=f"Serve {name}.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="set one field, strongest"
    )
    parser.add_argument("--print-config", action="store_true", help="print all settings and end")
    return parser.parse_args(arguments)
