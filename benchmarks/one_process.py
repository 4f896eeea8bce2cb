"""The three services wired into one process: what a call costs without the wire between them.

ranking_service is composed as in production, but its stubs call the other two servicers directly.
"""

import argparse
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from candidate_service import server as candidate_server
from candidate_service.config import CandidateConfig
from profile_service import server as profile_server
from profile_service.config import ProfileConfig
from ranking_service import server as ranking_server
from ranking_service.config import RankingConfig
from ranking_service.upstream import Stubs
from service_runtime.config import load_config
from service_runtime.grpc_server import Server
from service_runtime.telemetry import configure_logging


def handlers(server: Server) -> dict[str, Any]:
    """The behaviour of every method of a server, by method name, below its interceptors."""
    methods = server._grpc._state.registered_method_handlers  # noqa: SLF001  no public way
    return {name.rsplit("/", 1)[-1]: handler.unary_unary for name, handler in methods.items()}


CALL = SimpleNamespace(add_callback=lambda _: True)
"""Stands for the context of a call that nobody hangs up on."""


class Direct:
    """A stub's method without the wire."""

    def __init__(self, behaviour: Any) -> None:
        self._behaviour = behaviour

    def __call__(self, request: Any, **_: Any) -> Any:
        """Answer."""
        return self._behaviour(request, CALL)

    def future(self, request: Any, **_: Any) -> "Future[Any]":
        """Answer, as a call that can be cancelled does."""
        done: Future[Any] = Future()
        done.set_result(self(request))
        return done


class OneProcess:
    """All three services on one data root; `recommend(request)` is the whole work of a call."""

    def __init__(self, data_root: Path, *, port: int = 0, worker_count: int = 1) -> None:
        shared = [f"data_root={data_root}", "port=0", "metrics_port=0", "log_level=warning"]
        self.profile = profile_server.build(load_config(ProfileConfig, overrides=shared))
        self.candidate = candidate_server.build(load_config(CandidateConfig, overrides=shared))
        own = [*shared[:1], f"port={port}", f"worker_count={worker_count}", *shared[2:]]
        own.append("impression_log_name=benchmark")
        self.ranking = ranking_server.build(load_config(RankingConfig, overrides=own))
        self.methods = {
            name: handler
            for server in (self.profile, self.candidate, self.ranking)
            for name, handler in handlers(server).items()
        }
        servicer = self.methods["RecommendPins"].__self__
        upstream = servicer._recommender._upstream  # noqa: SLF001
        upstream._stubs = Stubs(  # noqa: SLF001
            profile=SimpleNamespace(GetProfile=self._direct("GetProfile")),
            candidate=SimpleNamespace(RetrieveCandidates=self._direct("RetrieveCandidates")),
        )
        for server in (self.profile, self.candidate, self.ranking):
            server.start()

    def _direct(self, method: str) -> Any:
        return Direct(self.methods[method])

    def recommend(self, request: Any) -> Any:
        """RecommendPins without any wire."""
        return self.methods["RecommendPins"](request, CALL)

    def close(self) -> None:
        """Stop all three, ranking first."""
        for server in (self.ranking, self.candidate, self.profile):
            server.stop(0)


def main() -> None:
    """Serve RecommendPins from one process until the input ends; says its port first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_root", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    configure_logging("warning", "benchmark")
    services = OneProcess(options.data_root, worker_count=options.workers)
    print(services.ranking.port, flush=True)
    stop = threading.Event()
    try:
        input()
    except (EOFError, KeyboardInterrupt):
        stop.set()
    services.close()


if __name__ == "__main__":
    main()
