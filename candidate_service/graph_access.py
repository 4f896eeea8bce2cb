"""One opened graph for all who walk on it: it is large, and its live lists are kept once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from candidate_service import graph
from candidate_service.artifacts import Artifacts
from candidate_service.graph import PinBoardGraph
from candidate_service.graph_config import GraphConfig
from candidate_service.live_graph import LIST_ENTRY_COUNT_MAX, serve_graph
from candidate_service.live_lists import LiveEdges
from candidate_service.walk import Walker
from service_runtime.generations import Generation

_OPENED: Final[WeakKeyDictionary[Artifacts, Callable[[], Walker]]] = WeakKeyDictionary()


def walker_of(artifacts: Artifacts, config: GraphConfig) -> Callable[[], Walker]:
    """Return what gives the walker of the graph that serves now, the same for all who ask.

    Raises (the returned function):
        NotReady: No graph has been built.
    """
    if artifacts not in _OPENED:

        def open_walker(generation: Generation) -> Walker:
            opened = PinBoardGraph.open(generation, in_memory=config.graph_in_memory)
            walker = Walker(opened, config.pixie_settings())
            walker.compile()
            LiveEdges(opened, LIST_ENTRY_COUNT_MAX).compile()
            serve_graph(opened)
            return walker

        _OPENED[artifacts] = artifacts.add(graph.ARTIFACT, graph.FORMAT_VERSIONS, open_walker)
    return _OPENED[artifacts]
