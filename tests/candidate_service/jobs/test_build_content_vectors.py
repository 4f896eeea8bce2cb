"""Imported vectors of texts and pictures: published where there are any, refused where broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candidate_service.content_vectors import TEXT, VISUAL
from candidate_service.jobs import build_catalogue, build_content_vectors
from candidate_service.vector_index import open_index
from service_runtime.errors import InvalidRequest
from service_runtime.generations import GenerationStore
from tests.candidate_service.world import make_context, write_pins


def build(data_root: Path, pins: list[dict[str, Any]], **settings: Any) -> Any:
    """Run the job."""
    write_pins(data_root, pins)
    build_catalogue.run(make_context(data_root))
    return build_content_vectors.run(make_context(data_root, **settings))


@pytest.mark.parametrize("exact_count_max", [10_000, 0])
def test_each_kind_is_a_space_of_its_own(tmp_path: Path, exact_count_max: int) -> None:
    """Texts have two dimensions, pictures three; pins without a vector are not found."""
    rng = np.random.default_rng(0)
    pins: list[dict[str, Any]] = [
        {"pin_id": f"p{at:02}", "visual_vector": rng.normal(size=3).tolist()} for at in range(40)
    ]
    pins[0]["text_vector"], pins[7]["text_vector"] = [3.0, 4.0], [0.0, 1.0]
    report = build(tmp_path, pins, index_exact_count_max=exact_count_max)

    store = GenerationStore(tmp_path / "generations")
    text, visual = store.current(TEXT), store.current(VISUAL)
    assert text is not None
    assert visual is not None
    assert open_index(text).vectors[0].tolist() == pytest.approx([0.6, 0.8])
    assert open_index(visual).dimension == 3
    assert (report[TEXT]["vector_count"], report[VISUAL]["vector_count"]) == (2, 40)
    assert set(open_index(text).nearest(np.array([[0, 1]], np.float32), 9)[0][0]) == {0, 7}


def test_nothing_is_published_of_nothing(tmp_path: Path) -> None:
    """A catalogue without such vectors has no such artifact, and the job is done."""
    report = build(tmp_path, [{"pin_id": "a"}])

    assert report[TEXT] == {"generation": "", "vector_count": 0}
    assert GenerationStore(tmp_path / "generations").current(VISUAL) is None


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        ([1.0, float("nan")], "holds a NaN"),
        ([0.0, 0.0], "is zero"),
        ([1.0, 2.0, 3.0], "has 3 numbers, others 2"),
        ([1.0, float("inf")], "holds a NaN, an infinity"),
    ],
)
def test_broken_vector_is_refused_with_its_pin(
    tmp_path: Path, vector: list[float], reason: str
) -> None:
    """One bad row names its column and pin."""
    pins = [{"pin_id": "a", "text_vector": [1.0, 0.0]}, {"pin_id": "b", "text_vector": vector}]

    with pytest.raises(InvalidRequest, match=f"the text_vector of pin 'b' {reason}"):
        build(tmp_path, pins)
