"""Make imported vectors of texts and pictures searchable: `text_vectors`, `visual_vectors`.

A kind of which no pin has a vector is not published. Pictures without imported vectors take those
that `embed_images` made, if it was ever run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candidate_service import catalogue, content_vectors, vector_index
from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.content_vectors import COLUMNS, EMBEDDED, EMBEDDED_FORMAT_VERSION, VISUAL
from candidate_service.given_vectors import given_vectors
from candidate_service.imported import open_pins
from candidate_service.index_settings import IndexSettings
from candidate_service.vector_index import build_index
from service_runtime.errors import NotReady
from service_runtime.job import JobContext, JobFailed, run_job
from service_runtime.vector_table import VectorTable


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Build and publish what there are vectors for.

    Returns:
        For each kind its generation ("" where no pin has such a vector), and how many pins have.

    Raises:
        InvalidRequest: A vector is of another length than others, zero, or not finite.
        JobFailed: An index misses the recall gate at every search effort.
    """
    store = context.generations
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    known = open_catalogue(source)
    open_pins(context.engine, context.data_root, context.as_of_us)
    inputs = {catalogue.ARTIFACT: source.id}
    report: dict[str, Any] = {}
    for artifact, column in COLUMNS.items():
        vectors = given_vectors(context.engine, known, column)
        if vectors is None and artifact == VISUAL:
            vectors = _embedded(context, known)
        if vectors is None:
            report[artifact] = {"generation": "", "vector_count": 0}
            continue
        vectors[known.deleted()] = 0
        report[artifact] = _publish(context, artifact, vectors, known, inputs)
    return report


def _publish(
    context: JobContext[CandidateConfig],
    artifact: str,
    vectors: NDArray[np.float32],
    known: Catalogue,
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    config = context.config
    settings = IndexSettings(
        connectivity=config.index_connectivity,
        expansion_add=config.index_expansion_add,
        thread_count=config.index_thread_count,
        exact_count_max=config.index_exact_count_max,
        recall_target=config.index_recall_target,
        recall_min=config.index_recall_min,
    )
    version = content_vectors.FORMAT_VERSION
    with context.generations.draft(artifact, format_version=version) as draft:
        table = VectorTable.write(draft.path(vector_index.VECTORS_FILE), vectors)
        built = build_index(
            table.vectors,
            draft.path(vector_index.INDEX_FILE),
            settings,
            rng=context.rng,
            advance=context.progress(f"{artifact}: vectors", total=int(vectors.any(axis=1).sum())),
        )
        if built.recall < settings.recall_min:
            raise JobFailed(
                f"recall@{settings.recall_depth} of {artifact} is {built.recall:.3f}, "
                f"below {settings.recall_min}",
                hint="raise index_expansion_add or index_connectivity",
                report={"recall": built.recall},
            )
        generation = draft.publish(
            as_of_us=context.as_of_us,
            inputs=inputs,
            counts={"pin_count": len(vectors), "vector_count": built.vector_count},
            quality={"recall": built.recall},
            details={
                **known.lineage(),
                "pin_count": len(vectors),
                "dimension": vectors.shape[1],
                "is_exact": built.is_exact,
                "expansion_search": built.expansion_search,
            },
        )
    return {"generation": generation.id, "vector_count": built.vector_count}


def _embedded(context: JobContext[CandidateConfig], known: Catalogue) -> NDArray[np.float32] | None:
    """Return what `embed_images` made of the pictures, by row; None if it was never run."""
    try:
        generation = context.generations.open_latest_good(
            EMBEDDED, format_version=EMBEDDED_FORMAT_VERSION
        )
    except NotReady:
        return None
    if generation.manifest.details.get("id_space") != known.id_space:
        return None
    made = VectorTable.open(generation.file(vector_index.VECTORS_FILE)).vectors
    vectors = np.zeros((len(known), made.shape[1]), np.float32)
    count = min(len(made), len(known))
    vectors[:count] = made[:count]
    return vectors


def main() -> None:
    """Run the job as a process."""
    run_job("build_content_vectors", run, CandidateConfig)


if __name__ == "__main__":
    main()
