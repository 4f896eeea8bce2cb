"""One metrics page for several processes: their pages, each sample with the label `process`."""

import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from service_runtime.errors import BindFailed

TIMEOUT_SECONDS = 2.0
"""A process that does not show its page in this time is left out of ours."""


class ProcessPages(Collector):
    """
    Puts the pages of a service's processes together, and counts the processes.

    Sums over `process` are what one process would show; gauges can be told apart. Beside them:
    `<service>_processes_ready` and `<service>_process_restarts_total`.

    Args:
        service: Name in front of the metrics.
        ports: Gives the port of each ready process's page, by its number.
    """

    def __init__(self, service: str, ports: Callable[[], Mapping[int, int]]) -> None:
        self._ports = ports
        self._registry = CollectorRegistry()
        self._page: tuple[WSGIServer, threading.Thread] | None = None
        self.port = 0
        ready = Gauge(
            f"{service}_processes_ready", "Processes that serve.", registry=self._registry
        )
        ready.set_function(lambda: len(self._ports()))
        self.restarts = Counter(
            f"{service}_process_restarts",
            "Processes that ended by themselves.",
            registry=self._registry,
        )
        self._registry.register(self)

    def describe(self) -> list[Metric]:
        """Nothing ahead of time: asking the processes at registration would be too early."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metric families of all processes, for prometheus_client."""
        merged: dict[str, Metric] = {}
        for number, port in self._ports().items():
            for family in _families(port):
                into = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {**sample.labels, "process": str(number)}
                    into.add_sample(sample.name, labels, sample.value)
        yield from merged.values()

    def serve(self, host: str, port: int) -> None:
        """
        Show the page under http://host:port/metrics from a thread of its own.

        Raises:
            BindFailed: The address cannot be had.
        """
        try:
            self._page = start_http_server(port, host, self._registry)
        except OSError as error:
            raise BindFailed(f"cannot serve metrics on {host}:{port}: {error}") from error
        self.port = int(self._page[0].server_port)

    def close(self) -> None:
        """End the page, if there is one."""
        if self._page is not None:
            server, thread = self._page
            server.shutdown()
            server.server_close()
            thread.join()
            self._page = None


def _families(port: int) -> list[Metric]:
    """The page of one process; empty if it is gone or does not answer."""
    try:
        address = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as page:
            return list(text_string_to_metric_families(page.read().decode()))
    except (OSError, ValueError):
        return []
