"""The pin-board graph as compressed rows: pruned and written by a job, mapped by the service.

Both directions are kept: the boards of each pin and the pins of each board. Neighbours of one
language, and within it of one topic, stand side by side, so that a biased walk draws from a
sub-range; where the catalogue knows fewer than two languages and two topics nothing is stored for
it. Language and topic of a node are one number, its label: language * (topics + 1) + topic + 1,
where a language or topic of -1 is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from candidate_service import pair_kernels
from candidate_service.save_counts import SaveCounts
from service_runtime.errors import Corrupted
from service_runtime.generations import Generation
from service_runtime.id_table import IdTable

ARTIFACT: Final = "graph"
FORMAT_VERSION: Final = 2
FORMAT_VERSIONS: Final = (1, 2)
"""Those that can be read; the first knew languages only, and no label by node."""
BOARD_IDS_FOLDER: Final = "board_ids"

_SIDES: Final = ("pin", "board")
_TITLES_FILE: Final = "board_titles.arrow"
_PARTS: Final = ("group_offsets", "group_labels", "group_begins")
_HINT: Final = "build it again: python -m candidate_service.jobs.build_graph"

Edges = tuple[NDArray[Any], NDArray[np.int32]]
Groups = tuple[NDArray[Any], NDArray[np.int32], NDArray[Any]]
Labels = tuple[NDArray[np.int32], NDArray[np.int32]]


class PinBoardGraph:
    """One opened generation; read-only, safe from any number of threads.

    Attributes:
        pin_edges: Offsets [pins + 1] and boards int32[e] of the pins.
        board_edges: Offsets [boards + 1] and pins int32[e] of the boards.
        pin_groups: Runs of one label in each pin's boards (`pair_kernels.find_groups`); None where
            the graph knows neither languages nor topics.
        board_groups: The same of each board's pins.
        pin_labels: Label of each pin, int32[pins]; None as above.
        board_labels: Label of each board, int32[boards]: the most frequent language and the most
            frequent topic of its pins.
        languages: Number of each language tag; empty below two.
        topics: Number of each topic; empty below two.
        id_space: Name of the pins' row space; "" for a graph that was not opened.
        board_ids: Ids of the boards; None for a graph that was not opened from a generation.
        repeated_saves: How many saves say that a pin is on a board, by (pin, board), where it is
            more than one.
        board_titles: Title of each board, null where it has none; large_string[boards].
        degree_max: Boards of the pin that is on most.
    """

    def __init__(
        self,
        edges: tuple[Edges, Edges],
        groups: tuple[Groups, Groups] | None = None,
        labels: Labels | None = None,
        *,
        languages: Sequence[str] = (),
        topics: Sequence[str] = (),
    ) -> None:
        """Take arrays that belong together; use `open` or `build_graph`."""
        self.pin_edges, self.board_edges = edges
        self.pin_groups: Groups | None = groups[0] if groups else None
        self.board_groups: Groups | None = groups[1] if groups else None
        self.pin_labels: NDArray[np.int32] | None = labels[0] if labels else None
        self.board_labels: NDArray[np.int32] | None = labels[1] if labels else None
        for arrays in (*edges, *(groups or ()), labels or ()):
            for array in arrays:
                array.setflags(write=False)  # also so that kernels are compiled for one kind only
        self.languages = {tag: number for number, tag in enumerate(languages)}
        self.topics = {topic: number for number, topic in enumerate(topics)}
        self.board_ids: IdTable | None = None
        self.id_space = ""
        self.repeated_saves: Mapping[tuple[int, int], int] = {}
        self.board_titles = pa.nulls(self.board_count, pa.large_string())
        self.degree_max = int(np.diff(self.pin_edges[0]).max(initial=0))

    @classmethod
    def open(cls, generation: Generation, *, in_memory: bool = False) -> Self:
        """Map a generation.

        Args:
            generation: Of the artifact `graph`.
            in_memory: Read it into memory instead: walks on a graph beyond the caches are half as
                fast again there, as memory of our own has large pages and mapped files have not.

        Raises:
            Corrupted: Its arrays do not fit each other.
        """

        def read(name: str) -> NDArray[Any]:
            return _read(generation.file(f"{name}.npy"), in_memory=in_memory)

        details = generation.manifest.details
        languages = [str(tag) for tag in details["languages"]]
        topics = [str(topic) for topic in details.get("topics", ())]
        edges = tuple((read(f"{side}_offsets"), read(f"{side}_neighbours")) for side in _SIDES)
        groups, labels = None, None
        if (languages or topics) and generation.manifest.format_version > 1:
            groups = tuple(tuple(read(f"{side}_{part}") for part in _PARTS) for side in _SIDES)
            labels = tuple(read(f"{side}_labels") for side in _SIDES)
        elif languages:
            groups, labels = _first_format(edges, read)
        graph = cls(edges, groups, labels, languages=languages, topics=topics)  # type: ignore[arg-type]
        graph._check(generation)
        graph.board_ids = IdTable.open(generation.path / BOARD_IDS_FOLDER)
        graph.id_space = str(details.get("id_space", ""))
        if generation.manifest.format_version > 1:
            graph.repeated_saves = SaveCounts(read("repeated_saves"))
            graph.board_titles = _read_titles(generation.file(_TITLES_FILE))
        return graph

    @property
    def pin_count(self) -> int:
        """Rows of the catalogue that it was built from; later pins are not in it."""
        return len(self.pin_edges[0]) - 1

    @property
    def board_count(self) -> int:
        """Number of boards, those without a kept pin included."""
        return len(self.board_edges[0]) - 1

    @property
    def node_count(self) -> int:
        """The larger of the numbers of pins and boards."""
        return max(self.pin_count, self.board_count)

    @property
    def edge_count(self) -> int:
        """Number of saves of a pin on a board that were kept."""
        return len(self.pin_edges[1])

    def degrees(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return on how many boards some pins are, int64[n]; 0 for rows it does not have."""
        known = (rows >= 0) & (rows < self.pin_count)
        at = np.where(known, rows, 0).astype(np.int64)
        if not self.pin_count:
            return np.zeros(len(rows), np.int64)
        offsets = self.pin_edges[0]
        degrees: NDArray[np.int64] = np.where(
            known, offsets[at + 1].astype(np.int64) - offsets[at], 0
        )
        return degrees

    def label_of(self, row: int) -> int:
        """Return the label of a pin; one of an unknown language and topic where it has none."""
        if self.pin_labels is None or row >= len(self.pin_labels):
            return -(len(self.topics) + 1)
        return int(self.pin_labels[row])

    def label_for(self, language: str, topics: Sequence[str]) -> int:
        """Return the label of a pin that came later, by its language and first known topic."""
        topic = next((self.topics[name] for name in topics if name in self.topics), -1)
        return self.languages.get(language, -1) * (len(self.topics) + 1) + topic + 1

    def label_ranges(self, language: str, label: int) -> tuple[int, int, int, int]:
        """Return the labels that a walk may prefer: those of one topic, and those of a language.

        Args:
            language: Tag of the viewer's language.
            label: Of the query pin. Its topic is looked for in the viewer's language; where the
                graph does not know that, in the pin's own.

        Returns:
            First and last + 1 of the topic, first and last + 1 of the language; equal where there
            is no such preference.
        """
        size = len(self.topics) + 1
        number, topic = self.languages.get(language, -1), label % size
        first = number * size if number >= 0 else label - topic
        wide = (first, first + size) if number >= 0 else (0, 0)
        narrow = (first + topic, first + topic + 1) if topic else (0, 0)
        return *narrow, *wide

    def write(self, folder: Path) -> None:
        """Write the arrays as files of a generation's folder."""
        arrays: dict[str, NDArray[Any]] = {}
        for side, edges, groups, labels in (
            ("pin", self.pin_edges, self.pin_groups, self.pin_labels),
            ("board", self.board_edges, self.board_groups, self.board_labels),
        ):
            arrays |= {f"{side}_offsets": edges[0], f"{side}_neighbours": edges[1]}
            if groups is not None and labels is not None:
                names = (f"{side}_{part}" for part in _PARTS)
                arrays |= dict(zip(names, groups, strict=True)) | {f"{side}_labels": labels}
        repeated = [(*pair, count) for pair, count in sorted(self.repeated_saves.items())]
        arrays["repeated_saves"] = np.array(repeated, np.int32).reshape(-1, 3)
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        titles = pa.table({"title": self.board_titles})
        with pa.ipc.new_file(str(folder / _TITLES_FILE), titles.schema) as writer:
            writer.write_table(titles)

    def _check(self, generation: Generation) -> None:
        for labels, count in (
            (self.pin_labels, self.pin_count),
            (self.board_labels, self.board_count),
        ):
            if labels is not None and len(labels) != count:
                raise Corrupted(
                    f"graph {generation.id} has {len(labels)} labels for {count} nodes", hint=_HINT
                )
        counts = {
            "pin_count": self.pin_count,
            "board_count": self.board_count,
            "edge_count": self.edge_count,
        }
        wanted = {name: generation.manifest.counts.get(name) for name in counts}
        ends = [int(edges[0][-1]) for edges in (self.pin_edges, self.board_edges)]
        lengths = [len(edges[1]) for edges in (self.pin_edges, self.board_edges)]
        if counts != wanted or ends != lengths:
            raise Corrupted(
                f"graph {generation.id} has {counts}, offsets up to {ends}; it says {wanted}",
                hint=_HINT,
            )


def build_graph(
    pins: NDArray[np.int32],
    boards: NDArray[np.int32],
    *,
    pin_count: int,
    board_count: int,
    pin_languages: NDArray[np.int16] | None = None,
    languages: Sequence[str] = (),
    pin_topics: NDArray[np.int16] | None = None,
    topics: Sequence[str] = (),
) -> PinBoardGraph:
    """Compress distinct edges into both directions.

    Args:
        pins: Pin row of each edge, int32[e]; no edge twice; any order (the result is the same).
        boards: Board row of each edge, int32[e].
        pin_count: Rows of the catalogue.
        board_count: Number of boards.
        pin_languages: Number of each pin's language, int16[pin_count], -1 = unknown.
        languages: Their tags; fewer than two count as none.
        pin_topics: Number of the topic that stands for each pin, int16[pin_count], -1 = unknown.
        topics: Their names; fewer than two count as none.
    """
    languages, topics = (() if len(names) < 2 else names for names in (languages, topics))
    unknown = np.full(pin_count, -1, np.int16)
    by_language = pin_languages if languages and pin_languages is not None else unknown
    by_topic = pin_topics if topics and pin_topics is not None else unknown
    pin_labels = _labels(by_language, by_topic, len(topics))
    loose = pair_kernels.compress_edges(pins, boards, pin_count)
    by_label = np.argsort(pin_labels, kind="stable")
    board_edges = pair_kernels.transpose(*loose, by_label, board_count)
    board_labels = _labels(
        pair_kernels.dominant_labels(*board_edges, by_language, len(languages)),
        pair_kernels.dominant_labels(*board_edges, by_topic, len(topics)),
        len(topics),
    )
    by_label = np.argsort(board_labels, kind="stable")
    pin_edges = pair_kernels.transpose(*board_edges, by_label, pin_count)
    edges = (_narrow(pin_edges), _narrow(board_edges))
    if not languages and not topics:
        return PinBoardGraph(edges)
    groups = (
        _narrow(pair_kernels.find_groups(*pin_edges, board_labels)),
        _narrow(pair_kernels.find_groups(*board_edges, pin_labels)),
    )
    labels = (pin_labels, board_labels)
    return PinBoardGraph(edges, groups, labels, languages=languages, topics=topics)


def _labels(
    languages: NDArray[np.int16], topics: NDArray[np.int16], topic_count: int
) -> NDArray[np.int32]:
    return (languages.astype(np.int32) * (topic_count + 1) + topics + 1).astype(np.int32)


def _first_format(
    edges: tuple[Any, ...], read: Callable[[str], NDArray[Any]]
) -> tuple[tuple[Groups, ...], tuple[NDArray[np.int32], ...]]:
    """Read groups by language alone, and tell each node's language from the groups it is in."""
    groups = tuple(
        (
            read(f"{side}_group_offsets"),
            read(f"{side}_group_languages").astype(np.int32),
            read(f"{side}_group_begins"),
        )
        for side in _SIDES
    )
    labels = []
    for (_, numbers, begins), (_, neighbours), (offsets, _) in zip(
        groups[::-1], edges[::-1], edges, strict=True
    ):
        found = np.full(len(offsets) - 1, -1, np.int32)
        found[neighbours] = np.repeat(numbers, np.diff(begins))
        labels.append(found)
    return groups, tuple(labels)


def _narrow(arrays: tuple[Any, ...]) -> Any:
    """Store positions as int32 where they fit: walks read twice as many a cache line."""
    return tuple(
        array.astype(np.int32) if array.dtype == np.int64 and array.max() < 2**31 else array
        for array in arrays
    )


def _read_titles(path: Path) -> pa.Array:
    try:
        titles = pa.ipc.open_file(pa.memory_map(str(path), "r")).read_all().column("title")
    except (OSError, KeyError, pa.ArrowInvalid) as fault:
        raise Corrupted(f"{path} cannot be read: {fault}", hint=_HINT) from fault
    return titles.combine_chunks()


def read_array(path: Path) -> NDArray[Any]:
    """Map an array file, or load it if it is empty (nothing to map).

    Raises:
        ValueError: It is no array file, or a torn one.
    """
    try:
        # A plain array over the mapping: kernels take subclasses of arrays more slowly.
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        if array.size:
            raise
        return array


def _read(path: Path, *, in_memory: bool) -> NDArray[Any]:
    try:
        array = read_array(path)
    except (ValueError, EOFError) as fault:
        raise Corrupted(f"{path} cannot be read: {fault}", hint=_HINT) from fault
    return array.copy() if in_memory else array
