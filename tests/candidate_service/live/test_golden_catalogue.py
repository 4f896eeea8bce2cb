"""A catalogue of format 2 and its index of saves open for ever.

Made once by `python -m tests.candidate_service.live.test_golden_catalogue FOLDER`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from candidate_service import save_index
from candidate_service.catalogue import READABLE_VERSIONS, open_catalogue
from candidate_service.jobs import build_catalogue
from candidate_service.save_index import SaveIndex
from service_runtime.generations import GenerationStore
from tests.candidate_service.world import NOW_US, make_context, write_pins, write_saves

GOLDEN = Path(__file__).parents[2] / "golden" / "candidate_service" / "catalogue_v2"
PIN = {
    "pin_id": "ñ",
    "title": "Título",
    "topics": ["a", "b"],
    "attributes": [("market", "eu")],
    "quality": 0.5,
    "is_hidden": True,
    "expiration_time_us": NOW_US + 1,
    "image_hash": -1,
    "vector": [1.0, 0.0],
}


def make(data_root: Path) -> None:
    """Publish one generation of both."""
    write_pins(data_root, [PIN, {"pin_id": "gone", "is_deleted": True}])
    write_saves(data_root, [("board", "ñ", NOW_US - 1), ("user:ann", "saved only", NOW_US - 1)])
    context = make_context(data_root)
    build_catalogue.run(context)
    context.close()


def test_the_golden_catalogue_opens() -> None:
    """With everything that format 2 brought."""
    store = GenerationStore(GOLDEN / "generations")
    generation = store.current("catalogue", format_version=READABLE_VERSIONS)
    assert generation is not None
    known = open_catalogue(generation)

    assert known.ids.ids(range(3)) == ["gone", "saved only", "ñ"]
    (pin,) = known.known_of(np.array([2], np.int32)).to_pylist()
    assert (pin["title"], pin["attributes"]) == ("Título", [("market", "eu")])
    assert (pin["quality"], pin["image_hash"]) == (0.5, 2**64 - 1)
    assert known.not_proposed(NOW_US).tolist() == [True, False, True]
    assert known.deleted().tolist() == [True, False, False]
    assert known.dimensions == {"vector": 2}


def test_the_golden_index_of_saves_opens() -> None:
    """By save and by board."""
    store = GenerationStore(GOLDEN / "generations")
    generation = store.current(save_index.ARTIFACT, format_version=save_index.FORMAT_VERSION)
    assert generation is not None
    index = SaveIndex.open(generation)

    assert index.find(["a0", "nothing", "a1"]) == [(2, "board"), None, (1, "user:ann")]
    assert index.saves_on("user:ann") == [("a1", 1)]
    assert index.saves_on("nowhere") == []


if __name__ == "__main__":
    target = Path(sys.argv[1])
    make(target)
    for made_from in ("catalogue", "spill"):
        shutil.rmtree(target / made_from, ignore_errors=True)
    for lock in target.rglob(".lock"):
        lock.unlink()
