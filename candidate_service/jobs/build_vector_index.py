"""Make the nearest neighbours of vectors findable, and prove that they are found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from candidate_service import catalogue, pin_vectors, vector_index
from candidate_service.config import CandidateConfig
from candidate_service.pin_vectors import open_vectors
from candidate_service.vector_index import IndexSettings, build_index
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
    )
    with store.draft(vector_index.ARTIFACT, format_version=vector_index.FORMAT_VERSION) as draft:
        report = build_index(
            vectors,
            draft.path(vector_index.INDEX_FILE),
            settings,
            rng=context.rng,
            advance=context.progress(
                "index: vectors", total=source.manifest.counts["vector_count"]
            ),
        )
        figures = {
            "vector_count": report.vector_count,
            "is_exact": report.is_exact,
            "expansion_search": report.expansion_search,
            "recall": report.recall,
        }
        if report.recall < settings.recall_min:
            raise JobFailed(
                f"recall@{settings.recall_depth} of the new index is {report.recall:.3f}, "
                f"below {settings.recall_min}",
                hint="raise index_expansion_add or index_connectivity",
                report=figures,
            )
        _link(source.file(pin_vectors.VECTORS_FILE), draft.path(vector_index.VECTORS_FILE))
        generation = draft.publish(
            as_of_us=source.manifest.as_of_us,
            inputs={pin_vectors.ARTIFACT: source.id},
            counts={"pin_count": len(vectors), "vector_count": report.vector_count},
            quality={"recall": report.recall},
            details={
                **catalogue.inherited_lineage(source.manifest.details),
                "pin_count": len(vectors),
                "dimension": vectors.shape[1],
                "is_exact": report.is_exact,
                "expansion_search": report.expansion_search,
                "connectivity": settings.connectivity,
                "expansion_add": settings.expansion_add,
            },
        )
    return {"generation": generation.id, **figures}


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
