"""Vectors of texts and of pictures speak for themselves, each kind in its own columns."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking_service.content_features import CONTENT_MEDOID_COUNT_MAX
from ranking_service.features import FEATURE_NAMES, feature_rows, make_context
from ranking_service.live_pins import LivePin, live_pins
from ranking_service.pool import pool_of
from ranking_service.profile import RecentActions
from ranking_service.query import Surface, Viewer
from ranking_service.side_tables import TEXT_VECTORS, VISUAL_VECTORS
from ranking_service.world import Artifacts, World
from service_runtime.generation_store import GenerationStore
from service_runtime.vector_table import VectorTable
from tests.ranking_service.worlds import NOW, make_profile, publish_catalogue, unit_vectors

COUNT = 20


def publish(store: Any, artifact: str, vectors: Any, *, id_space: str = "space") -> None:
    """Vectors as candidate_service publishes them."""
    with store.draft(artifact, format_version=1) as draft:
        VectorTable.write(draft.path("vectors.npy"), vectors)
        draft.publish(as_of_us=7, details={"id_space": id_space})


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """A catalogue whose first 18 pins have texts, and all but pin 3 pictures, no other vectors."""
    store = GenerationStore(tmp_path / "generations")
    publish_catalogue(store, COUNT)
    publish(store, TEXT_VECTORS, unit_vectors(18, 8, 1))
    pictures = unit_vectors(COUNT, 24, 2)
    pictures[3] = 0
    publish(store, VISUAL_VECTORS, pictures)
    return store


def columns(world: World, profile: Any, *, rows: Any = None, query_row: int = -1) -> Any:
    """Columns of all pins, or of some, by feature."""
    surface = Surface.RELATED_PINS if query_row >= 0 else Surface.HOME_FEED
    context = make_context(world, profile, Viewer(), surface=surface, query_row=query_row, now=NOW)
    given = np.arange(COUNT, dtype=np.int32) if rows is None else np.array(rows, np.int32)
    return dict(zip(FEATURE_NAMES, feature_rows(pool_of(given), context).T, strict=True))


def test_each_kind_is_compared_in_its_own_space(store: Any) -> None:
    """Query pin, closest medoid and closest pin of the session, against numpy."""
    world = Artifacts(store).world()
    recent = RecentActions(("pin-4", "pin-5"), ("save", "click"), np.array([NOW - 1, NOW - 2]))
    profile = make_profile([1, 2], recent_actions=recent)

    found = columns(world, profile, query_row=6)

    for kind, table in (("text", world.side.text_vectors), ("visual", world.side.visual_vectors)):
        whole = np.zeros((COUNT, table.shape[1]))
        whole[: len(table)] = table
        for name, others in (("query", [6]), ("profile", [1, 2]), ("session", [4, 5])):
            wanted = (whole @ whole[others].T).max(axis=1)
            np.testing.assert_allclose(found[f"{kind}_vector_{name}"], wanted, atol=1e-6)
    assert found["has_text_vector"].tolist() == [1] * 18 + [0, 0]
    assert found["has_visual_vector"].tolist() == [1, 1, 1, 0, *[1] * 16]
    assert {TEXT_VECTORS, VISUAL_VECTORS} <= set(world.generations)


def test_what_has_no_vector_is_compared_with_nobody(store: Any) -> None:
    """A query pin and medoids without text leave its columns at 0; pictures speak on."""
    found = columns(Artifacts(store).world(), make_profile([18]), query_row=19)

    assert not found["text_vector_query"].any()
    assert not found["text_vector_profile"].any()
    assert found["visual_vector_query"].any()
    assert found["visual_vector_profile"][18] == pytest.approx(1.0)


def test_the_most_important_interests_are_compared(store: Any) -> None:
    """An interest beyond the limit changes nothing."""
    world = Artifacts(store).world()
    most = list(range(CONTENT_MEDOID_COUNT_MAX))

    few, many = (columns(world, make_profile(rows)) for rows in (most, [*most, 17]))

    assert few["text_vector_profile"].tobytes() == many["text_vector_profile"].tobytes()
    assert columns(world, make_profile([17]))["text_vector_profile"][17] == pytest.approx(1.0)


def test_vectors_of_another_numbering_are_left_alone(store: Any) -> None:
    """Texts that number pins otherwise are not read, and the answer does not name them."""
    publish(store, TEXT_VECTORS, unit_vectors(COUNT, 8, 5), id_space="other")
    world = Artifacts(store).world()

    found = columns(world, make_profile([1]))

    assert not found["has_text_vector"].any()
    assert TEXT_VECTORS not in world.generations


def test_young_pins_have_no_vectors_of_these_kinds(store: Any) -> None:
    """A pin that only candidate_service knows reads as one without texts and pictures."""
    known = Artifacts(store).world()
    young = live_pins([LivePin("young")], known.catalogue, dimension=0)
    world = World(
        catalogue=known.catalogue,
        vectors=None,
        statistics=None,
        generations={},
        as_of_us=0,
        id_space="space",
        live=young,
        side=known.side,
    )

    found = columns(world, make_profile([1]), rows=[2, COUNT], query_row=COUNT)

    assert found["has_text_vector"].tolist() == [1, 0]
    assert found["text_vector_profile"][1] == 0
    assert not found["visual_vector_query"].any()
