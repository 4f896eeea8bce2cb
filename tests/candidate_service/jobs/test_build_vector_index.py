"""The index is published only when it finds what a scan finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from candidate_service.jobs import build_catalogue, build_vector_index, learn_vectors
from candidate_service.vector_index import VectorIndex, open_index
from service_runtime.errors import Corrupted
from service_runtime.generations import GenerationStore
from service_runtime.job import JobFailed
from tests.candidate_service.world import make_context, write_pins

PIN_COUNT = 600


def write_world(data_root: Path) -> None:
    """Import pins with vectors around 20 centres, and make the catalogue and the vectors."""
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((20, 12))
    write_pins(
        data_root,
        [
            {
                "pin_id": f"p{number:04d}",
                "vector": (centres[number // 30] + 0.5 * rng.standard_normal(12)).tolist(),
            }
            for number in range(PIN_COUNT)
        ],
    )
    for job in (build_catalogue, learn_vectors):
        context = make_context(data_root)
        job.run(context)
        context.close()


def opened(data_root: Path) -> VectorIndex:
    """Return the index that was published last."""
    generation = GenerationStore(data_root / "generations").current("vector_index")
    assert generation is not None
    return open_index(generation)


@pytest.mark.parametrize("exact_count_max", [0, 20_000])
def test_published_index_finds_the_neighbours(exact_count_max: int, tmp_path: Path) -> None:
    """A graph or a scan, whichever was built, answers with the true neighbours."""
    write_world(tmp_path)
    report = build_vector_index.run(make_context(tmp_path, index_exact_count_max=exact_count_max))

    index = opened(tmp_path)

    vectors = index.vectors
    found = index.nearest(vectors[:50], 10)
    exact = np.argsort(-(vectors[:50] @ vectors.T), axis=1)[:, :10]
    shared = [len({*a.tolist()} & {*b.tolist()}) for (a, _), b in zip(found, exact, strict=True)]
    assert report["is_exact"] == (exact_count_max > 0) == index.is_exact
    assert report["recall"] >= 0.95
    assert np.mean(shared) / 10 >= 0.9


def test_index_carries_the_vectors_it_was_built_from(tmp_path: Path) -> None:
    """New vectors of another dimension leave the index of the old ones whole."""
    write_world(tmp_path)
    build_vector_index.run(make_context(tmp_path))
    (old,) = (tmp_path / "catalogue" / "pins").glob("*.parquet")
    old.unlink()
    write_pins(tmp_path, [{"pin_id": "p0000", "vector": [1.0, 0.0]}])
    learn_vectors.run(make_context(tmp_path))

    index = opened(tmp_path)

    assert index.dimension == 12
    assert index.nearest(index.vectors[:1], 1)[0][0].tolist() == [0]


def test_recall_below_the_gate_is_not_published(tmp_path: Path) -> None:
    """A graph that misses the gate fails the job; what was published before stays."""
    rng = np.random.default_rng(6)
    vectors = rng.standard_normal((3000, 48))  # no structure and few links: not every true
    write_pins(  # neighbour is found at any effort
        tmp_path,
        [{"pin_id": f"p{at}", "vector": vector.tolist()} for at, vector in enumerate(vectors)],
    )
    for job in (build_catalogue, learn_vectors, build_vector_index):
        job.run(make_context(tmp_path))
    before = GenerationStore(tmp_path / "generations").current_id("vector_index")
    settings = {"index_recall_min": 1.0, "index_recall_target": 1.0, "index_connectivity": 4}

    with pytest.raises(JobFailed, match="recall@100") as failed:
        build_vector_index.run(make_context(tmp_path, index_exact_count_max=0, **settings))

    assert failed.value.report["recall"] < 1.0
    assert GenerationStore(tmp_path / "generations").current_id("vector_index") == before


def test_index_that_does_not_fit_its_manifest_is_refused(tmp_path: Path) -> None:
    """Vectors of another dimension than the manifest says are never served."""
    write_world(tmp_path)
    build_vector_index.run(make_context(tmp_path))
    generation = GenerationStore(tmp_path / "generations").current("vector_index")
    assert generation is not None
    generation.manifest.details["dimension"] = 13

    with pytest.raises(Corrupted, match="13"):
        open_index(generation)
