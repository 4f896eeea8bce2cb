"""Vectors are the imported ones, or learned from saves, and bad ones are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from candidate_service.jobs import build_catalogue, learn_vectors
from candidate_service.pin_vectors import open_vectors
from service_runtime.errors import Corrupted, InvalidRequest, NotReady
from service_runtime.generations import Generation, GenerationStore
from tests.candidate_service.world import (
    DAY_US,
    NOW_US,
    make_context,
    write_pins,
    write_saves,
)


def learn(data_root: Path, *, as_of_us: int = NOW_US) -> Generation:
    """Build the catalogue and the vectors, and return their generation."""
    for job in (build_catalogue, learn_vectors):
        context = make_context(data_root, as_of_us=as_of_us, vector_dimension=8)
        job.run(context)
        context.close()
    generation = GenerationStore(data_root / "generations").current("pin_vectors")
    assert generation is not None
    return generation


def write_two_topics(data_root: Path) -> None:
    """Import 20 boards: even ones of cats, odd ones of ships."""
    rng = np.random.default_rng(2)
    write_saves(
        data_root,
        [
            (f"b{board:02d}", f"{('cat', 'ship')[board % 2]}{pin:02d}")
            for board in range(20)
            for pin in rng.choice(15, 6, replace=False)
        ],
    )


def test_imported_vectors_are_normalised_and_aligned(tmp_path: Path) -> None:
    """Each pin has its own vector at its own row, at unit length; a pin without has none."""
    write_pins(
        tmp_path,
        [
            {"pin_id": "b", "vector": [0.0, 2.0]},
            {"pin_id": "a", "vector": [3.0, 4.0]},
            {"pin_id": "c"},
        ],
    )

    generation = learn(tmp_path)

    np.testing.assert_allclose(
        open_vectors(generation).vectors, [[0.6, 0.8], [0, 1], [0, 0]], atol=1e-6
    )
    assert generation.manifest.details["method"] == "imported"
    assert generation.manifest.counts == {"pin_count": 3, "vector_count": 2}


def test_vectors_are_learned_when_none_were_imported(tmp_path: Path) -> None:
    """Pins of one topic are nearer to each other than to the other topic's."""
    write_two_topics(tmp_path)

    generation = learn(tmp_path)

    vectors = open_vectors(generation).vectors  # rows in the order of ids: cats, then ships
    assert generation.manifest.details["method"] == "learned"
    assert generation.manifest.quality["same_board_auc"] > 0.7
    assert (vectors[:15] @ vectors[:15].T).mean() > (vectors[:15] @ vectors[15:].T).mean() + 0.2


def test_learned_and_imported_are_never_mixed(tmp_path: Path) -> None:
    """One imported vector is enough for saves to be left out."""
    write_two_topics(tmp_path)
    write_pins(tmp_path, [{"pin_id": "cat00", "vector": [1.0, 0.0, 0.0]}])

    generation = learn(tmp_path)

    assert generation.manifest.details["dimension"] == 3
    assert generation.manifest.counts["vector_count"] == 1


def test_saves_after_as_of_teach_nothing(tmp_path: Path) -> None:
    """Vectors as of a time are those of the saves before it."""
    time = NOW_US - DAY_US
    write_saves(tmp_path, [("b", "p", time - 1), ("b", "q", time - 1), ("b", "r", time)])
    write_pins(tmp_path, [{"pin_id": "r"}])

    vectors = open_vectors(learn(tmp_path, as_of_us=time)).vectors

    assert vectors.any(axis=1).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        ([1.0, float("nan")], "NaN"),
        ([float("inf"), 1.0], "infinity"),
        ([0.0, 0.0], "zero"),
        ([1.0, None], "null"),
        ([1.0, 2.0, 3.0], "numbers"),
    ],
)
def test_bad_vector_is_refused_by_name(
    vector: list[float | None], reason: str, tmp_path: Path
) -> None:
    """What is no direction in the space of the others stops the job, naming the pin."""
    write_pins(
        tmp_path, [{"pin_id": "good", "vector": [1.0, 0.0]}, {"pin_id": "bad", "vector": vector}]
    )

    with pytest.raises(InvalidRequest, match=r"'(bad|good)'.*" + reason):
        learn(tmp_path)


def test_world_without_saves_and_vectors(tmp_path: Path) -> None:
    """Pins that nobody saved have no vectors; that is no error."""
    write_pins(tmp_path, [{"pin_id": "a"}, {"pin_id": "b"}])

    generation = learn(tmp_path)

    assert not open_vectors(generation).vectors.any()


def test_catalogue_comes_first(tmp_path: Path) -> None:
    """Without a catalogue there are no rows to give vectors to."""
    with pytest.raises(NotReady, match="catalogue"):
        learn_vectors.run(make_context(tmp_path))


def test_vectors_that_do_not_fit_their_manifest_are_refused(tmp_path: Path) -> None:
    """A file of another dimension than the manifest says is never served."""
    write_two_topics(tmp_path)
    generation = learn(tmp_path)
    generation.manifest.details["dimension"] = 9

    with pytest.raises(Corrupted, match="8"):
        open_vectors(generation)
