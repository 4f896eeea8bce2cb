"""Nearest pins by cosine: a mapped HNSW graph, or a plain scan where that is faster.

The only module that imports usearch, and the place of what is odd about it:

* Its wheel exports a C++ runtime that breaks LightGBM when it is loaded first, so scipy is imported
  before it here, and a test loads a model after this module.
* An `Index` serialises its callers although it releases the GIL, so each thread has its own view of
  the one mapped file.
* `expansion_search` is not stored in the file: it is set again from the manifest after opening.
* Answers shorter than asked are padded with key 0 and NaN, and `radius` is accepted and ignored:
  the padding is cut and distances are filtered here.
* Rows added in the order of their topics give a graph that no search effort mends: rows are
  shuffled before building, and a build below the recall gate is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.spatial  # noqa: F401  loads the system's C++ runtime before usearch brings its own
from numpy.typing import NDArray
from usearch.index import Index

from candidate_service.index_settings import NUMBER, IndexReport, IndexSettings
from candidate_service.vector_kernels import scan_cosines, scan_rows
from candidate_service.vector_recall import kth_best, least_effort, recall_of
from service_runtime.errors import Corrupted
from service_runtime.generations import Generation
from service_runtime.vector_table import VectorTable

ARTIFACT: Final = "vector_index"
FORMAT_VERSION: Final = 2
FORMAT_VERSIONS: Final = (1, 2)
"""Those that can be read; in the first every pin with a vector can be found."""
INDEX_FILE: Final = "index.usearch"
VECTORS_FILE: Final = "vectors.npy"
FINDABLE_FILE: Final = "findable.npy"

METRIC: Final = "ip"

_HINT: Final = "build it again: python -m candidate_service.jobs.build_vector_index"
_BATCH: Final = 4096
_SCAN_ROWS: Final = 65_536


def _new_index(
    dimension: int, *, connectivity: int, expansion_add: int, number_type: str = NUMBER
) -> Index:
    """Return an empty graph; inner product is the cosine of the unit vectors it gets."""
    return Index(
        ndim=dimension,
        metric=METRIC,
        dtype=number_type,
        connectivity=connectivity,
        expansion_add=expansion_add,
        enable_key_lookups=False,  # saves half the memory of a view; nobody asks it for a vector
    )


def present_rows(vectors: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the rows that have a vector, i.e. are not zero, int32[m], ascending."""
    blocks = [
        np.flatnonzero(vectors[start : start + _SCAN_ROWS].any(axis=1)) + start
        for start in range(0, len(vectors), _SCAN_ROWS)
    ]
    return np.concatenate([np.empty(0, np.int64), *blocks]).astype(np.int32)


def build_index(
    vectors: NDArray[np.float32],
    path: Path,
    settings: IndexSettings,
    *,
    rng: np.random.Generator,
    advance: Callable[[int], None],
    findable: NDArray[np.bool_] | None = None,
) -> IndexReport:
    """Write the graph over the rows that can be found, and measure it against a full scan.

    Args:
        vectors: float32[n, d], unit rows; a zero row has no vector and is left out.
        path: Where the graph goes; not written when a scan is as fast.
        settings: Effort and gates.
        rng: Shuffles the rows and draws the sample.
        advance: Told how many rows were placed since the last call.
        findable: Rows that may be found, bool[n]; None = all that have a vector.

    Returns:
        The report; whether its recall suffices is for the caller to say.

    Cost: O(m log m) placements of expansion_add distances each: about 0.1 ms a row and core at
        d = 128 (500,000 rows: 95 CPU seconds).
    """
    rows = present_rows(vectors)
    if findable is not None:
        rows = rows[findable[rows]]
    if len(rows) <= settings.exact_count_max:
        advance(len(rows))
        return IndexReport(len(rows), is_exact=True, expansion_search=0, recall=1.0)
    shuffled = rng.permutation(rows)
    index = _new_index(
        vectors.shape[1],
        connectivity=settings.connectivity,
        expansion_add=settings.expansion_add,
        number_type=settings.number_type,
    )
    for start in range(0, len(shuffled), _BATCH):
        batch = shuffled[start : start + _BATCH]
        index.add(batch.astype(np.uint64), vectors[batch], threads=settings.thread_count)
        advance(len(batch))
    index.save(str(path))
    sample = np.sort(rng.choice(rows, min(settings.sample_count, len(rows)), replace=False))
    queries = np.ascontiguousarray(vectors[sample])
    depth = min(settings.recall_depth, len(rows))
    bounds = kth_best(vectors, rows, queries, depth)

    def found_at(effort: int) -> float:
        index.expansion_search = effort  # type: ignore[misc]  # its setter has another name
        found = [_search(index, vectors, query, depth)[1] for query in queries]
        return recall_of(found, bounds, depth)

    effort, recall = least_effort(found_at, depth, settings.recall_target)
    return IndexReport(len(rows), is_exact=False, expansion_search=effort, recall=recall)


def _search(
    index: Index, vectors: NDArray[np.float32], query: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Ask the graph and put its answer in the order of the exact float32 cosines."""
    found = index.search(query, count, threads=1)
    rows = np.asarray(found.keys)[: len(found)].astype(np.int32)
    rows = rows[np.isfinite(np.asarray(found.distances)[: len(rows)])]  # padding: key 0, NaN
    cosines = vectors[rows] @ query
    order = np.lexsort((rows, -cosines))
    return rows[order], cosines[order]


class VectorIndex:
    """Nearest pins of one published generation; safe from any number of threads.

    It carries its own vectors, so that the pin a search starts from is always looked up in the same
    space that is searched, also while newly learned vectors are being published.
    """

    def __init__(
        self,
        vectors: NDArray[np.float32],
        *,
        path: Path | None,
        expansion_search: int = 0,
        findable: NDArray[np.bool_] | None = None,
        number_type: str = NUMBER,
        is_learned: bool = False,
    ) -> None:
        """Open it.

        Args:
            vectors: float32[n, d] by catalogue row, unit or zero rows.
            path: The graph over them; None = scan.
            expansion_search: Search effort from the manifest; needed with a graph.
            findable: Rows that may be found, bool[n], each with a vector; None = all that have one.
                From the others can be searched all the same.
            number_type: How the graph keeps numbers.
            is_learned: Whether the vectors were learned from saves.

        Raises:
            Corrupted: The graph is of another dimension or number type than the vectors.
        """
        self.vectors = vectors
        self.is_learned = is_learned
        self._path = path
        self._expansion_search = expansion_search
        self._number_type = number_type
        self._local = threading.local()
        self._opening = threading.Lock()
        rows = present_rows(vectors) if findable is None else np.flatnonzero(findable)
        self._rows = rows = rows.astype(np.int32)
        self._findable = np.zeros(len(vectors), np.bool_)
        self._findable[rows] = True
        self._scanned = np.empty((0, vectors.shape[1]), np.float32)
        if path is None:
            self._scanned = np.ascontiguousarray(vectors[rows])
        else:
            self._check(path)

    def _check(self, path: Path) -> None:
        meta: dict[str, Any] | None = Index.metadata(str(path))
        dimension = (meta or {}).get("dimensions")
        if dimension != self.dimension:
            raise Corrupted(
                f"{path} holds {dimension or 'unreadable'} dimensions, the vectors beside it have "
                f"{self.dimension}",
                hint=_HINT,
            )
        self._view()

    @property
    def dimension(self) -> int:
        """How long a vector is."""
        return int(self.vectors.shape[1])

    @property
    def found_count(self) -> int:
        """How many pins can be found."""
        return len(self._rows)

    @property
    def is_exact(self) -> bool:
        """True where a scan answers."""
        return self._path is None

    def _view(self) -> Index:
        """Return this thread's own view of the mapped file."""
        view: Index | None = getattr(self._local, "view", None)
        if view is None:
            with self._opening:
                view = _new_index(
                    self.dimension,
                    connectivity=16,
                    expansion_add=128,
                    number_type=self._number_type,
                )
                view.view(str(self._path))
            view.expansion_search = self._expansion_search  # type: ignore[misc]  # as above
            self._local.view = view
        return view

    def has_vector(self, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Say which rows can be searched from: known to this generation, and not zero."""
        known = (rows >= 0) & (rows < len(self.vectors))
        known[known] = self.vectors[rows[known]].any(axis=1)
        return known

    def nearest(
        self,
        queries: NDArray[np.float32],
        count: int,
        *,
        cosine_min: float = -1.0,
        effort: int = 0,
    ) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """Return for each query the *count* pins of highest cosine.

        Args:
            queries: Unit rows, float32[q, d].
            count: How many, >= 0.
            cosine_min: Pins below are left out.
            effort: Search effort where it should be more than the measured one.

        Returns:
            For each query rows int32[m] and cosines float32[m], best first, lower row first
            among equals, m <= count. With a graph: up to its measured recall.

        Raises:
            ValueError: The queries are of another dimension.

        Cost: graph about 0.2 ms a query; scan O(n d), 0.1 ms for 10,000 x 128.
        """
        self._check_queries(queries)
        if count <= 0 or not len(queries):
            return [(np.empty(0, np.int32), np.empty(0, np.float32))] * len(queries)
        if self._path is None:
            cosines = scan_cosines(self._scanned, np.ascontiguousarray(queries))
            found = [best_rows(self._rows, row, count) for row in cosines]
        else:
            view = self._view()  # this thread's own: its effort is nobody else's
            view.expansion_search = max(effort, self._expansion_search)  # type: ignore[misc]
            found = [_search(view, self.vectors, query, count) for query in queries]
        if cosine_min > -1.0:
            kept = [int(np.count_nonzero(cosines >= cosine_min)) for _, cosines in found]
            found = [(r[:n], c[:n]) for (r, c), n in zip(found, kept, strict=True)]
        return found

    def findable(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which rows can be found and are in a mask (bool[m], of any length), bool[n]."""
        count = min(len(mask), len(self._findable))
        if count == len(self._findable):
            return self._findable & mask[:count]
        found = np.zeros(len(self._findable), np.bool_)
        np.logical_and(self._findable[:count], mask[:count], out=found[:count])
        return found

    def nearest_among(
        self, queries: NDArray[np.float32], rows: NDArray[np.int32], count: int
    ) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """Return for each query the *count* nearest of some rows (int32[m]), by a scan of them.

        Cost: O(m d q) time, one cache miss or two a row: 10,000 rows of 128 take about 1 ms.
        """
        self._check_queries(queries)
        cosines = scan_rows(self.vectors, rows, np.ascontiguousarray(queries))
        return [best_rows(rows, row, count) for row in cosines]

    def _check_queries(self, queries: NDArray[np.float32]) -> None:
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ValueError(f"queries have shape {queries.shape}, not [q, {self.dimension}]")


def open_index(generation: Generation) -> VectorIndex:
    """Map a generation, with the search effort that its recall was measured at.

    Raises:
        Corrupted: Its parts do not fit each other.
    """
    details = generation.manifest.details
    vectors = VectorTable.open(generation.file(VECTORS_FILE)).vectors
    if vectors.shape != (details.get("pin_count"), details.get("dimension")):
        raise Corrupted(
            f"vector_index {generation.id} holds vectors of {vectors.shape}, its manifest says "
            f"{details.get('pin_count')} x {details.get('dimension')}",
            hint=_HINT,
        )
    findable = None
    if generation.manifest.format_version > 1:
        findable = np.load(generation.file(FINDABLE_FILE), allow_pickle=False)
        if (findable.dtype, findable.shape) != (np.bool_, vectors.shape[:1]):
            raise Corrupted(
                f"vector_index {generation.id}: {FINDABLE_FILE} does not fit", hint=_HINT
            )
    return VectorIndex(
        vectors,
        path=None if details.get("is_exact") else generation.file(INDEX_FILE),
        expansion_search=int(details.get("expansion_search", 0)),
        findable=findable,
        number_type=str(details.get("number_type", NUMBER)),
        is_learned=details.get("method") == "learned",
    )


def best_rows(
    rows: NDArray[np.int32], cosines: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the *count* rows of highest cosine, best first, the lower row among equals."""
    if count < len(rows):
        chosen = np.argpartition(-cosines, count - 1)[:count]
        rows, cosines = rows[chosen], cosines[chosen]
    order = np.lexsort((rows, -cosines))
    return rows[order], cosines[order]


class LiveVectorIndex:
    """Nearest pins among those added while serving; for pins younger than the generation.

    Rows are added one at a time: a batch would stall every search until it ends, a single add costs
    a search well under a millisecond. Safe from any number of threads.
    """

    def __init__(self, dimension: int, *, settings: IndexSettings, expansion_search: int) -> None:
        """Start empty."""
        self._index = Index(
            ndim=dimension,
            metric=METRIC,
            dtype=NUMBER,
            connectivity=settings.connectivity,
            expansion_add=settings.expansion_add,
            expansion_search=expansion_search,
        )
        self._writing = threading.Lock()

    def __len__(self) -> int:
        """Return how many rows can be found."""
        return len(self._index)

    def add(self, row: int, vector: NDArray[np.float32]) -> None:
        """Make a pin findable, or replace its vector (unit, float32[d])."""
        with self._writing:
            if row in self._index:
                self._index.remove(row)  # a key cannot be overwritten
            self._index.add(row, vector, threads=1)

    def remove(self, row: int) -> None:
        """Make a pin unfindable; nothing happens if it is not there."""
        with self._writing:
            if row in self._index:
                self._index.remove(row)

    def nearest(
        self, query: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return rows and cosines (to bf16: within 0.005), best first."""
        if not len(self._index) or count <= 0:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        found = self._index.search(query, count, threads=1)
        distances = np.asarray(found.distances)[: len(found)]
        is_real = np.isfinite(distances)
        rows = np.asarray(found.keys)[: len(found)][is_real].astype(np.int32)
        return rows, np.clip(1.0 - distances[is_real], -1.0, 1.0).astype(np.float32)
