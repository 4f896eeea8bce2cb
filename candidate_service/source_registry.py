"""Which candidate sources there are: the built-in ones, and those that other packages bring.

A source's module ends with `PLUGIN = SourcePlugin(...)`; nothing else knows it by name. Another
package announces its own by an entry point of the group `corkboard.candidate_sources`, whose name
is the source's and whose value is its plug-in (docs/write-a-source.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final

from candidate_service.candidate import CandidateSource
from service_runtime.errors import ProcessFailed

if TYPE_CHECKING:
    from candidate_service.artifacts import Artifacts
    from candidate_service.catalogue import Catalogue
    from candidate_service.config import CandidateConfig
    from candidate_service.live.segment import LivePart
    from service_runtime.telemetry import Metrics

ENTRY_POINT_GROUP: Final = "corkboard.candidate_sources"
BUILT_IN: Final = {
    "ann": "candidate_service.sources.ann",
    "board_cooccurrence": "candidate_service.sources.board_cooccurrence",
    "pixie": "candidate_service.sources.pixie",
    "pin2vec": "candidate_service.sources.pin2vec",
    "text_search": "candidate_service.sources.text_search",
    "visual": "candidate_service.sources.visual",
    "fresh": "candidate_service.sources.fresh",
    "local": "candidate_service.sources.local",
    "popular": "candidate_service.sources.popular",
    "declared": "candidate_service.sources.declared",
}
"""Module of each built-in source by its name, in the order of the answer."""
CANDIDATE_COUNT_MAX: Final = 2000
"""Largest quota of a source; the contract's ceiling for a request."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class SourceUnusable(ProcessFailed):
    """A source of another package cannot be used as it is."""


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source may be made of.

    Attributes:
        config: All settings; a source's own are named `<source>_<what>`.
        artifacts: Opens the generations that it reads and follows new ones.
        metrics: Where it may count what it does.
    """

    config: CandidateConfig
    artifacts: Artifacts
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class SourcePlugin:
    """A candidate source as it is announced.

    Attributes:
        name: What callers, metrics and the README call it: lower_snake, fixed for ever.
        make: Makes the source; opens artifacts, starts nothing.
        candidate_count: Its own quota, in [1, 2000]; `candidate_counts` of the settings wins.
        is_quick: Whether it only reads prepared lists, which takes less time than handing the
            question to another thread; it is then asked in the caller's.
        leaves_out_excluded: Whether it drops the query's excluded rows itself; others are asked
            for more, so that enough is left when those are dropped.
        live_part: Makes what it keeps of the changes since a generation of the catalogue; None
            where it keeps nothing.
    """

    name: str
    make: Callable[[SourceContext], CandidateSource]
    candidate_count: int
    is_quick: bool = False
    leaves_out_excluded: bool = True
    live_part: Callable[[Catalogue], LivePart] | None = None

    def __post_init__(self) -> None:
        """Check name and quota.

        Raises:
            ValueError: One is out of its range.
        """
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a source's name is lower_snake, up to 64 letters: {self.name!r}")
        if not 1 <= self.candidate_count <= CANDIDATE_COUNT_MAX:
            raise ValueError(
                f"{self.name}: candidate_count must be in [1, {CANDIDATE_COUNT_MAX}]: "
                f"{self.candidate_count}"
            )


def source_names() -> tuple[str, ...]:
    """Return the names of all sources that could be enabled, the built-in ones first."""
    brought = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    return (*BUILT_IN, *sorted(brought - set(BUILT_IN)))


def load_plugins(names: Sequence[str]) -> list[SourcePlugin]:
    """Import the named sources, in that order.

    Raises:
        SourceUnusable: One cannot be imported, or is not a plug-in of that name.
    """
    return [_load(name) for name in names]


def _load(name: str) -> SourcePlugin:
    if name in BUILT_IN:
        plugin = import_module(BUILT_IN[name]).PLUGIN
        assert isinstance(plugin, SourcePlugin)
        assert plugin.name == name
        return plugin
    points = list(entry_points(group=ENTRY_POINT_GROUP, name=name))
    if len(points) != 1:
        brought = ", ".join(_origin(point) for point in points) or "no installed package"
        raise SourceUnusable(
            f"the source {name!r} is announced by {brought}",
            hint="install exactly one package that brings it, or take it out of `sources`",
        )
    return _checked(points[0])


def _checked(point: EntryPoint) -> SourcePlugin:
    hint = f"mend {_origin(point)}, or take {point.name!r} out of `sources`"
    try:
        plugin = point.load()
    except Exception as fault:
        reason = f"{type(fault).__name__}: {fault}"
        raise SourceUnusable(f"{point.value} cannot be loaded: {reason}", hint=hint) from fault
    if not isinstance(plugin, SourcePlugin):
        raise SourceUnusable(
            f"{point.value} is no SourcePlugin: {type(plugin).__name__}", hint=hint
        )
    if plugin.name != point.name:
        raise SourceUnusable(
            f"{point.value} calls itself {plugin.name!r}, its entry point {point.name!r}", hint=hint
        )
    return plugin


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
