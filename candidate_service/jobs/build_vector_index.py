"""Make the nearest neighbours of vectors findable, and prove that they are found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candidate_service import catalogue, duplicates, pin_vectors, vector_index
from candidate_service.config import CandidateConfig
from candidate_service.index_settings import IndexSettings
from candidate_service.pin_vectors import open_vectors
from candidate_service.vector_index import build_index
from service_runtime.errors import NotReady
from service_runtime.job import JobContext, JobFailed, run_job


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Build and publish the index over the current vectors.

    Returns:
        How many vectors can be found, with which effort, and the recall that was measured.

    Raises:
        JobFailed: The graph misses the recall gate at every search effort.
    """
    config, store = context.config, context.generations
    source = store.open_latest_good(pin_vectors.ARTIFACT, format_version=pin_vectors.FORMAT_VERSION)
    vectors = open_vectors(source).vectors
    settings = IndexSettings(
        connectivity=config.index_connectivity,
        expansion_add=config.index_expansion_add,
        thread_count=config.index_thread_count,
        exact_count_max=config.index_exact_count_max,
        recall_target=config.index_recall_target,
        recall_min=config.index_recall_min,
        number_type=config.index_number_type,
    )
    pool = _refined(context, vectors)
    with store.draft(vector_index.ARTIFACT, format_version=vector_index.FORMAT_VERSION) as draft:
        report = build_index(
            vectors,
            draft.path(vector_index.INDEX_FILE),
            settings,
            rng=context.rng,
            advance=context.progress("index: vectors", total=pool.kept_count),
            findable=pool.findable,
        )
        figures = {
            "vector_count": report.vector_count,
            "is_exact": report.is_exact,
            "expansion_search": report.expansion_search,
            "recall": report.recall,
            **pool.left_out,
        }
        if report.recall < settings.recall_min:
            raise JobFailed(
                f"recall@{settings.recall_depth} of the new index is {report.recall:.3f}, "
                f"below {settings.recall_min}",
                hint="raise index_expansion_add or index_connectivity",
                report=figures,
            )
        np.save(draft.path(vector_index.FINDABLE_FILE), pool.findable, allow_pickle=False)
        _link(source.file(pin_vectors.VECTORS_FILE), draft.path(vector_index.VECTORS_FILE))
        generation = draft.publish(
            as_of_us=source.manifest.as_of_us,
            inputs={pin_vectors.ARTIFACT: source.id, **pool.inputs},
            counts={
                "pin_count": len(vectors),
                "vector_count": report.vector_count,
                **pool.left_out,
            },
            quality={"recall": report.recall},
            details={
                **catalogue.inherited_lineage(source.manifest.details),
                "pin_count": len(vectors),
                "dimension": vectors.shape[1],
                "is_exact": report.is_exact,
                "expansion_search": report.expansion_search,
                "connectivity": settings.connectivity,
                "expansion_add": settings.expansion_add,
                "number_type": settings.number_type,
                "method": source.manifest.details.get("method", "imported"),
            },
        )
    return {"generation": generation.id, **figures}


@dataclass(frozen=True, slots=True)
class _Pool:
    """Which pins may be found.

    Attributes:
        findable: bool[n].
        kept_count: How many of them have a vector.
        left_out: How many pins with a vector were left out, by reason.
        inputs: Generations that said so.
    """

    findable: NDArray[np.bool_]
    kept_count: int
    left_out: dict[str, int]
    inputs: dict[str, str]


def _refined(context: JobContext[CandidateConfig], vectors: NDArray[np.float32]) -> _Pool:
    """Leave out deleted and hidden pins, near-duplicates but one of a group, and poor pins.

    Source: Pal et al. 2020, section 3.3: the candidate pool is refined before it is indexed, which
    halved the cost of serving.
    """
    store = context.generations
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    known = catalogue.open_catalogue(source)
    inputs = {catalogue.ARTIFACT: source.id}
    count = min(len(known), len(vectors))
    reasons = {
        "hidden_count": known.not_proposed(context.as_of_us)[:count],
        "poor_count": _is_poor(known, context.config.index_quality_min)[:count],
    }
    try:
        groups = store.open_latest_good(
            duplicates.ARTIFACT, format_version=duplicates.FORMAT_VERSION
        )
    except NotReady:
        pass  # nobody looked for near-duplicates
    else:
        if groups.manifest.details.get("id_space") == known.id_space:
            inputs[duplicates.ARTIFACT] = groups.id
            reasons["duplicate_count"] = ~duplicates.open_duplicates(groups).representatives[:count]
    findable: NDArray[np.bool_] = np.any(vectors, axis=1)
    left_out = {}
    for name, is_left_out in reasons.items():
        before = int(findable.sum())
        findable[: len(is_left_out)] &= ~is_left_out
        left_out[name] = before - int(findable.sum())
    return _Pool(findable, int(findable.sum()), left_out, inputs)


def _is_poor(known: catalogue.Catalogue, quality_min: float) -> NDArray[np.bool_]:
    """Say which pins are known to look poor; a pin of which nothing is known is not."""
    column = known.pins.column("quality").combine_chunks().to_numpy(zero_copy_only=False)
    return np.asarray(column, np.float32) < np.float32(quality_min)


def _link(source: Path, target: Path) -> None:
    """Let both generations hold the same file; copy where the disk has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def main() -> None:
    """Run the job as a process."""
    run_job("build_vector_index", run, CandidateConfig)


if __name__ == "__main__":
    main()
