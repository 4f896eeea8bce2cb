"""
What ranking reads beside the catalogue to compare candidates with a user's own pins.

All of it is row aligned with the catalogue and optional: without one of these tables the features
that need it say nothing.  The save graph is the one that candidate_service walks on, mapped here as
well, so that given pins (RankPins) can be compared as well as proposed ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ranking_service.catalogue import (
    CATALOGUE,
    CATALOGUE_FORMATS,
    FORMAT_VERSION,
    PIN_VECTORS,
    open_vectors,
)
from ranking_service.word_codes import WordCodes
from service_runtime.errors import Corrupted
from service_runtime.generation_store import Generation, GenerationStore
from service_runtime.id_table import IdTable
from service_runtime.live import Live
from service_runtime.vector_table import VectorTable

GRAPH: Final = "graph"
GRAPH_FORMATS: Final = (1, 2)
AUDIENCE: Final = "audience"
TEXT_VECTORS: Final = "text_vectors"
VISUAL_VECTORS: Final = "visual_vectors"

GEOMETRY_ROW_MAX: Final = 100_000
"""Vectors, at even steps, from which the directions' spread is estimated."""
PRECISION_RIDGE: Final = 2.6
"""Added to every direction's relative spread before inverting. Measured: pinterest20, 128
directions; HR@10 .871 against .855 at a quarter of it."""
INTEREST_PRIOR: Final = 1.5
"""Weight of all pins as not saved, beside the user's saves. Measured there."""


@dataclass(frozen=True, slots=True)
class SaveGraph:
    """
    Which pin is on which board.

    Attributes:
        pin_offsets: Where each pin's boards start, int[N' + 1]; N' at most the number of pins.
        pin_boards: int32[e].
        board_offsets: Where each board's pins start, int[boards + 1].
        board_pins: int32[e].
        board_ids: None where the graph does not tell.
    """

    pin_offsets: NDArray[Any]
    pin_boards: NDArray[np.int32]
    board_offsets: NDArray[Any]
    board_pins: NDArray[np.int32]
    board_ids: IdTable | None = None

    @classmethod
    def open(cls, generation: Generation) -> Self:
        """
        Map a generation.

        Raises:
            Corrupted: If a file is unreadable or the arrays do not fit each other.
        """
        pins, boards = (
            (
                _array(generation, f"{side}_offsets.npy"),
                _array(generation, f"{side}_neighbours.npy"),
            )
            for side in ("pin", "board")
        )
        for offsets, neighbours in (pins, boards):
            if not offsets.size or int(offsets[-1]) != neighbours.size:
                raise Corrupted(f"{generation.path}: its offsets do not fit its neighbours")
        folder = generation.path / "board_ids"
        ids = IdTable.open(folder) if folder.is_dir() else None
        return cls(pins[0], pins[1], boards[0], boards[1], ids)

    def pins_of(self, board_id: str, count_max: int) -> NDArray[np.int32]:
        """Some pins of a board at even steps, int32[at most count_max]; empty if unknown."""
        row = self.board_ids.row(board_id) if self.board_ids is not None and board_id else -1
        if row < 0:
            return np.empty(0, np.int32)
        pins = self.board_pins[int(self.board_offsets[row]) : int(self.board_offsets[row + 1])]
        step = max(1, -(-pins.size // count_max))
        return np.ascontiguousarray(pins[::step])


@dataclass(frozen=True, slots=True)
class VectorGeometry:
    """
    How all vectors spread, so that a user's pins can be told from what everybody has.

    Attributes:
        precision: float32[d, d]: turns the sum of the user's vectors into the direction that tells
            their pins from others (ridge regression of pins on pins).
        prior_inverse: float32[d, d]: inverse of what is known before the user's first save.
    """

    precision: NDArray[np.float32]
    prior_inverse: NDArray[np.float32]

    @classmethod
    def open(cls, generation: Generation) -> Self:
        """
        Measure the vectors of a generation.

        Raises:
            Corrupted: If the file is unreadable.
        """
        return cls.of(VectorTable.open(generation.file("vectors.npy")).vectors)

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> Self:
        """Measure vectors, float32[n, d]."""
        step = max(1, len(vectors) // GEOMETRY_ROW_MAX)
        rows = np.ascontiguousarray(vectors[::step])
        dimension = vectors.shape[1]
        gram = (rows.T @ rows).astype(np.float64)
        mean = float(np.trace(gram)) / dimension or 1.0
        ones = np.eye(dimension)
        precision = np.linalg.inv(gram / mean + PRECISION_RIDGE * ones)
        prior = np.linalg.inv(INTEREST_PRIOR * gram / mean + ones)
        return cls(precision.astype(np.float32), prior.astype(np.float32))

    def directions(self, pins: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Directions of a user, from the vectors of their pins: float32[3, d].

        Args:
            pins: float32[h, d], h >= 1.

        Returns:
            The mean; the mean told from what everybody has; and the interest that explains best
            that these pins were saved and all others were not (ridge regression, as when a new user
            is folded into implicit matrix factorisation).

        Source: Steck 2019 (EASE) in the space of the vectors; Hu, Koren and Volinsky 2008, eq. 4.
        """
        mean = pins.mean(axis=0)
        turned = pins @ self.prior_inverse
        inner = turned @ pins.T
        inner[np.diag_indices_from(inner)] += 1.0
        weights = np.linalg.solve(inner, np.ones(len(pins), np.float32))
        return np.stack([mean, self.precision @ mean, weights @ turned]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class PinWords:
    """
    The words of the pins' titles.

    Attributes:
        offsets: Where each pin's words start, int64[N + 1].
        codes: int32[t].
        code_by_word: Number of each word.
        code_count: Above every number.
    """

    offsets: NDArray[np.int64]
    codes: NDArray[np.int32]
    code_by_word: WordCodes
    code_count: int

    @classmethod
    def open(cls, generation: Generation) -> Self:
        """
        Read the titles of a catalogue.

        Raises:
            Corrupted: If the file is unreadable.
        """
        path = generation.file("pins.arrow")
        try:
            with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
                table = reader.read_all()
        except (OSError, pa.ArrowInvalid) as fault:
            raise Corrupted(f"{path} cannot be read: {fault}") from fault
        if "title" not in table.column_names:
            return cls.of(pa.nulls(table.num_rows, pa.large_string()))
        return cls.of(table["title"].combine_chunks())

    @classmethod
    def of(cls, titles: pa.Array) -> Self:
        """Number the words of titles."""
        plain = pc.utf8_lower(pc.fill_null(titles.cast(pa.large_string()), ""))
        plain = pc.utf8_trim(pc.replace_substring_regex(plain, r"[^\pL\pN]+", " "), " ")
        lists = pc.split_pattern(plain, " ")
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum(pc.list_value_length(lists).to_numpy(zero_copy_only=False), out=offsets[1:])
        words = pc.dictionary_encode(pc.list_flatten(lists))
        words = words.combine_chunks() if isinstance(words, pa.ChunkedArray) else words
        codes = np.array(words.indices.to_numpy(zero_copy_only=False), np.int32)
        nothing = pc.index(words.dictionary, "").as_py()
        codes[codes == nothing] = -1  # no word has the code -1, which tells that "" is not there
        return cls(offsets, codes, WordCodes(words.dictionary), len(words.dictionary))

    def codes_of(self, texts: tuple[str, ...]) -> NDArray[np.int32]:
        """Distinct known words of some texts, int32[w]."""
        split = ("".join(c if c.isalnum() else " " for c in text.lower()).split() for text in texts)
        found = np.unique(self.code_by_word.codes_of([word for words in split for word in words]))
        return found[found >= 0]


@dataclass(frozen=True, slots=True)
class Audience:
    """
    Who acts on each pin: by how much more than expected each group does.

    Attributes:
        lifts: float32[N', g]: log of (actions of the group + a) / (expected actions + a); 0 where
            nothing is known.
        column_by_group: Column of each group, by names such as `language:ja` and `segment:women`.
    """

    lifts: NDArray[np.float32]
    column_by_group: Mapping[str, int]

    @classmethod
    def open(cls, generation: Generation) -> Self:
        """
        Map a generation.

        Raises:
            Corrupted: If the file is unreadable or has other columns than it says.
        """
        groups = [str(name) for name in generation.manifest.details["groups"]]
        lifts = _array(generation, "lifts.npy")
        if lifts.ndim != 2 or lifts.shape[1] != len(groups):
            raise Corrupted(f"{generation.path}: {lifts.shape} lifts for {len(groups)} groups")
        return cls(lifts, {group: column for column, group in enumerate(groups)})

    def column(self, group: str) -> int:
        """Column of a group, -1 if it is not known."""
        return self.column_by_group.get(group, -1)


@dataclass(frozen=True, slots=True)
class SideTables:
    """
    Everything of this module at one moment; None = there is none that fits the catalogue.

    Vectors of texts and of pictures are float32[N', d], N' at most the number of pins, each row of
    unit length, or zero for none.
    """

    graph: SaveGraph | None = None
    geometry: VectorGeometry | None = None
    words: PinWords | None = None
    audience: Audience | None = None
    text_vectors: NDArray[np.float32] | None = None
    visual_vectors: NDArray[np.float32] | None = None


NO_SIDE_TABLES: Final = SideTables()
"""Features that need any of them say nothing."""


class SideArtifacts:
    """
    Follows the newest good generations of the side tables.

    Args:
        store: Where the generations are.
    """

    def __init__(self, store: GenerationStore) -> None:
        self._words: Live[PinWords] = Live(store, CATALOGUE, CATALOGUE_FORMATS, PinWords.open)
        self._geometry: Live[VectorGeometry] = Live(
            store, PIN_VECTORS, FORMAT_VERSION, VectorGeometry.open
        )
        self._graph: Live[SaveGraph] = Live(store, GRAPH, GRAPH_FORMATS, SaveGraph.open)
        self._audience: Live[Audience] = Live(store, AUDIENCE, FORMAT_VERSION, Audience.open)
        self._content: tuple[Live[NDArray[np.float32]], ...] = tuple(
            Live(store, artifact, FORMAT_VERSION, open_vectors)
            for artifact in (TEXT_VECTORS, VISUAL_VECTORS)
        )

    @property
    def lives(self) -> tuple[Live[Any], ...]:
        """What a watcher has to poll."""
        return (self._words, self._geometry, self._graph, self._audience, *self._content)

    def tables(
        self, catalogue: Generation, vectors_id: str
    ) -> tuple[SideTables, dict[str, str], int]:
        """
        What fits the catalogue and the vectors now.

        With the generation of each artifact, and the time, microseconds since the epoch, that
        nothing in them is later than.

        Words and geometry are made from the catalogue and the vectors themselves and must be of the
        same generation; at the moment of a swap they are left out.
        """
        id_space = catalogue.manifest.details.get("id_space")
        generations: dict[str, str] = {}
        times = [0]

        def aligned(live: Live[Any]) -> Any:
            snapshot = live.snapshot()
            if snapshot is None or snapshot[0].manifest.details.get("id_space") != id_space:
                return None
            generations[live.artifact] = snapshot[0].id
            times.append(snapshot[0].manifest.as_of_us)
            return snapshot[1]

        def same(live: Live[Any], wanted: str) -> Any:
            snapshot = live.snapshot()
            return snapshot[1] if snapshot is not None and snapshot[0].id == wanted else None

        text_vectors, visual_vectors = (aligned(live) for live in self._content)
        tables = SideTables(
            graph=aligned(self._graph),
            geometry=same(self._geometry, vectors_id),
            words=same(self._words, catalogue.id),
            audience=aligned(self._audience),
            text_vectors=text_vectors,
            visual_vectors=visual_vectors,
        )
        return tables, generations, max(times)


def _array(generation: Generation, name: str) -> NDArray[Any]:
    """Map an array file; an empty one is loaded."""
    path = generation.file(name)
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError as fault:
        try:
            array: NDArray[Any] = np.load(path, allow_pickle=False)
        except (ValueError, EOFError):
            raise Corrupted(f"{path} cannot be read: {fault}") from fault
        if array.size:
            raise Corrupted(f"{path} cannot be read: {fault}") from fault
        return array
