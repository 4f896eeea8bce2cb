"""Generations of words and pictures published once must open for ever.

Made by `python -m tests.candidate_service.test_golden_content FOLDER`; never made again for a
version that was released.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from candidate_service import content_vectors, duplicates, text_index
from candidate_service.content_vectors import EMBEDDED, TEXT, VISUAL
from candidate_service.duplicates import open_duplicates
from candidate_service.hamming import open_hashes
from candidate_service.jobs import (
    build_catalogue,
    build_content_vectors,
    build_duplicates,
    build_text_index,
    embed_images,
)
from candidate_service.text_index import QueryTerm, open_text_index
from candidate_service.vector_index import open_index
from service_runtime.generations import Generation, GenerationStore
from service_runtime.vector_table import VectorTable
from tests.candidate_service.jobs.test_build_duplicates import signed
from tests.candidate_service.onnx_model import make_weights, write_model
from tests.candidate_service.pictures import address, draw, encode
from tests.candidate_service.world import make_context, write_pins, write_saves

GOLDEN = Path(__file__).parents[1] / "golden" / "candidate_content"
VERSIONS = sorted(path.name for path in GOLDEN.glob("v*"))
HASH = 0x0123456789ABCDEF


def make_golden(data_root: Path) -> None:
    """Publish one generation of every artifact over three pins."""
    pins = [
        {"pin_id": "a", "title": "Crème brûlée", "text_vector": [1.0, 0.0]},
        {"pin_id": "b", "description": "burnt crème", "text_vector": [0.0, 2.0]},
        {"pin_id": "c", "image_url": address(encode(draw(1, 32)))},
    ]
    hashes = [signed(value) for value in (HASH, HASH ^ 3, HASH ^ (0xFFFF << 8))]
    write_pins(
        data_root,
        [{**pin, "image_hash": value} for pin, value in zip(pins, hashes, strict=True)],
    )
    write_saves(data_root, [("x", "c")], titles={"x": "Desserts"})
    model = write_model(data_root / "net.onnx", make_weights())
    settings = {"image_model_path": model, "image_model_output": "features"}
    jobs = (build_catalogue, build_text_index, build_duplicates, embed_images)
    for job in (*jobs, build_content_vectors):
        context = make_context(data_root, **settings)
        job.run(context)
        context.close()


def current(version: str, artifact: str, format_version: int) -> Generation:
    """Return the golden generation of an artifact, every checksum checked."""
    store = GenerationStore(GOLDEN / version / "generations")
    generation = store.current(artifact, format_version=format_version)
    assert generation is not None, artifact
    return generation


def test_there_are_golden_generations() -> None:
    """An empty folder would prove nothing."""
    assert VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
class TestGolden:
    def test_words(self, version: str) -> None:
        """Terms of those days are found in their fields."""
        index = open_text_index(current(version, "text_index", text_index.FORMAT_VERSION))

        for field, term, row in (
            ("words", "creme", 0),
            ("description", "creme", 1),
            ("boards", "dessert", 2),
            ("grams", "_bru", 0),
        ):
            assert index.find([QueryTerm(field, term, 1.0)], 9)[0].tolist() == [row]
        assert (index.pin_count, index.document_count) == (3, 3)

    def test_duplicates(self, version: str) -> None:
        """Groups and hashes are as they were."""
        generation = current(version, "duplicates", duplicates.FORMAT_VERSION)

        assert open_duplicates(generation).groups.tolist() == [1, 1, 0]
        assert open_hashes(generation).near(HASH, 2)[0].tolist() == [0, 1]

    def test_vectors(self, version: str) -> None:
        """Spaces of texts and pictures are as they were."""
        text = open_index(current(version, TEXT, content_vectors.FORMAT_VERSION))
        visual = open_index(current(version, VISUAL, content_vectors.FORMAT_VERSION))
        embedded = current(version, EMBEDDED, content_vectors.EMBEDDED_FORMAT_VERSION)

        assert text.vectors.tolist() == [[1, 0], [0, 1], [0, 0]]
        made = VectorTable.open(embedded.file("vectors.npy")).vectors
        assert (visual.vectors == made).all()
        assert made.any(axis=1).tolist() == [False, False, True]


if __name__ == "__main__":
    target = Path(sys.argv[1])
    make_golden(target)
    (target / "net.onnx").unlink()
    for made_from in ("catalogue", "spill", "generations/catalogue", "generations/save_index"):
        shutil.rmtree(target / made_from, ignore_errors=True)
    for lock in target.rglob(".lock"):
        lock.unlink()
