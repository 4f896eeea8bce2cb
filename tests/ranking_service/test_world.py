"""Artifacts that come, go, disagree and break while requests are served."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking_service.features import FEATURE_NAMES
from ranking_service.hand_tuned import make_hand_tuned
from ranking_service.query import Surface
from ranking_service.ranker import (
    RANKER_ARTIFACT,
    RANKER_FORMAT_VERSION,
    GbdtRanker,
    Rankers,
    write_ranker,
)
from ranking_service.world import Artifacts
from service_runtime.errors import NotReady
from service_runtime.generation_store import GenerationStore
from tests.ranking_service.test_ranker import train
from tests.ranking_service.worlds import (
    make_store,
    publish_catalogue,
    publish_statistics,
    publish_vectors,
    unit_vectors,
)


def poll(artifacts: Any) -> None:
    """Look for new generations once."""
    for live in artifacts.lives:
        live.poll()


def test_artifacts_are_optional_but_the_catalogue(tmp_path: Path) -> None:
    """Statistics and vectors may come later; without a catalogue there is no world."""
    store = GenerationStore(tmp_path)
    artifacts = Artifacts(store)

    with pytest.raises(NotReady):
        artifacts.world()
    publish_catalogue(store, 5)
    poll(artifacts)
    assert dict(artifacts.world().missing).keys() == {"pin_vectors", "pin_statistics"}
    publish_vectors(store, unit_vectors(5, 4))
    publish_statistics(store, 5)
    poll(artifacts)

    assert artifacts.world().missing == ()
    assert set(artifacts.world().generations) == {"catalogue", "pin_vectors", "pin_statistics"}


def test_a_world_in_use_does_not_change(tmp_path: Path) -> None:
    """A request that has begun goes on with what it saw."""
    store = make_store(tmp_path, 10)
    artifacts = Artifacts(store)
    world = artifacts.world()

    newer = publish_catalogue(store, 12)
    poll(artifacts)

    assert len(world.catalogue.pin_ids) == 10
    assert artifacts.world().generations["catalogue"] == newer
    assert len(artifacts.world().catalogue.pin_ids) == 12


@pytest.mark.parametrize("artifact", ["catalogue", "pin_vectors", "pin_statistics"])
def test_a_damaged_generation_is_refused_and_the_old_one_serves(
    tmp_path: Path, artifact: Any
) -> None:
    """One flipped byte in a new generation changes nothing for callers."""
    store = make_store(tmp_path, 10)
    artifacts = Artifacts(store)
    before = artifacts.world().generations
    publish = {
        "catalogue": lambda: publish_catalogue(store, 10),
        "pin_vectors": lambda: publish_vectors(store, unit_vectors(10, 16)),
        "pin_statistics": lambda: publish_statistics(store, 10),
    }[artifact]
    folder = store.root / artifact / publish()
    largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[-1] ^= 1
    largest.write_bytes(content)

    poll(artifacts)

    assert artifacts.world().generations == before
    refused = {live.artifact: live.refused_count for live in artifacts.lives}
    assert refused[artifact] == 1


def test_the_latest_data_counts(tmp_path: Path) -> None:
    """A world is as young as the youngest of its artifacts."""
    store = GenerationStore(tmp_path)
    publish_catalogue(store, 3, as_of_us=5)
    publish_statistics(store, 3, as_of_us=9)

    assert Artifacts(store).world().as_of_us == 9


def publish_ranker(store: Any, *, names: Any = FEATURE_NAMES, seed: int = 0) -> Any:
    """Publish a small model over the service's features."""
    rng = np.random.default_rng(seed)
    x = rng.random((300, len(names))).astype(np.float32)
    text = train(x, (x[:, 0] > 0.5).astype(int), 3).model_to_string()
    with store.draft(RANKER_ARTIFACT, format_version=RANKER_FORMAT_VERSION) as draft:
        write_ranker(draft.folder, {"save": GbdtRanker(text)}, feature_names=names)
        return draft.publish(as_of_us=0, details={"model": "pointwise_gbdt"}).id


def test_the_hand_tuned_model_ranks_until_one_is_trained(tmp_path: Path) -> None:
    """No model is no gap; the first good generation takes over while serving."""
    store = GenerationStore(tmp_path)
    rankers = Rankers(store, make_hand_tuned(), feature_names=FEATURE_NAMES)

    before = rankers.serving(Surface.HOME_FEED)
    generation = publish_ranker(store)
    rankers.live.poll()
    after = rankers.serving(Surface.HOME_FEED)

    assert (before.ranker.model, before.generation, before.missing_reason) == ("hand_tuned", "", "")
    assert (after.ranker.model, after.generation) == ("pointwise_gbdt", generation)
    assert [found.id for found in rankers.published()] == [generation]


def test_a_model_for_other_features_is_refused(tmp_path: Path) -> None:
    """The old model goes on; without one the hand-tuned model serves and says why."""
    store = GenerationStore(tmp_path)
    rankers = Rankers(store, make_hand_tuned(), feature_names=FEATURE_NAMES)

    publish_ranker(store, names=[*FEATURE_NAMES[:-1], "other"])
    rankers.live.poll()
    first = rankers.serving(Surface.HOME_FEED)
    good = publish_ranker(store)
    rankers.live.poll()
    publish_ranker(store, names=FEATURE_NAMES[::-1])
    rankers.live.poll()

    assert (first.ranker.model, bool(first.missing_reason)) == ("hand_tuned", True)
    assert rankers.serving(Surface.HOME_FEED).generation == good
