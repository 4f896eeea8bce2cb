"""A Japanese reader asks about an English pin and gets Japanese pins (rows 7 and 28 of the map).

Boards mix languages: each has mostly English pins and some Japanese ones of its topic. The walk
without a bias therefore answers in English; the bias of the walk and the local pool answer in
Japanese, and stay with the topic.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candidate_service.artifacts import Artifacts
from candidate_service.candidate import CandidateQuery, CandidateSource, Segment
from candidate_service.config import CandidateConfig
from candidate_service.jobs import (
    build_catalogue,
    build_graph,
    build_popular,
    build_vector_index,
    learn_vectors,
)
from candidate_service.source_registry import SourceContext, load_plugins
from service_runtime.generations import GenerationStore
from service_runtime.telemetry import Metrics
from tests.candidate_service.world import NOW_US, make_context, write_pins, write_saves
from tests.contracts.candidate_source import make_query

TOPIC_COUNT = 5
ENGLISH_COUNT, JAPANESE_COUNT = 40, 20
"""Pins of each topic."""
JAPAN = Segment("ja", "JP")


def write_world(data_root: Path) -> None:
    """Five topics; each has thirty boards of eight English and two Japanese pins of it."""
    rng = np.random.default_rng(11)
    pins: list[dict[str, Any]] = []
    saves = []
    for topic in range(TOPIC_COUNT):
        english = [f"t{topic}-en{at:02}" for at in range(ENGLISH_COUNT)]
        japanese = [f"t{topic}-ja{at:02}" for at in range(JAPANESE_COUNT)]
        pins += [{"pin_id": name, "language": "en", "country": "US"} for name in english]
        pins += [{"pin_id": name, "language": "ja", "country": "JP"} for name in japanese]
        for board in range(30):
            held = [*rng.choice(english, 8, replace=False), *rng.choice(japanese, 2, replace=False)]
            saves += [(f"t{topic}-b{board}", str(name), NOW_US - 1) for name in held]
    write_pins(data_root, pins)
    write_saves(data_root, saves)


def ask(data_root: Path, source_name: str, query: CandidateQuery) -> list[str]:
    """Return what a source proposes, as ids."""
    settings = {"data_root": data_root, "sources": (source_name,)}
    artifacts = Artifacts(GenerationStore(data_root / "generations"))
    context = SourceContext(CandidateConfig(**settings), artifacts, Metrics("candidate_service"))
    (plugin,) = load_plugins([source_name])
    source: CandidateSource = plugin.make(context)
    return artifacts.catalogue().ids.ids(source.retrieve(query, 20).rows)


def english_query(data_root: Path, segment: Segment) -> CandidateQuery:
    """A question about the first English pin of the third topic."""
    artifacts = Artifacts(GenerationStore(data_root / "generations"))
    rows: NDArray[np.int32] = artifacts.catalogue().ids.rows(["t2-en00"])
    return dataclasses.replace(make_query(rows.tolist()), segment=segment)


def share(names: list[str], word: str) -> float:
    """Share of ids with a word in them."""
    return sum(word in name for name in names) / len(names)


def test_a_japanese_reader_of_an_english_pin_gets_japanese_pins(tmp_path: Path) -> None:
    """Unbiased walks answer in English, biased ones mostly and the local pool only in Japanese."""
    write_world(tmp_path)
    for job in (build_catalogue, build_graph, learn_vectors, build_vector_index, build_popular):
        context = make_context(tmp_path, vector_dimension=16)
        job.run(context)
        context.close()
    plain, local = english_query(tmp_path, Segment()), english_query(tmp_path, JAPAN)

    unbiased = ask(tmp_path, "pixie", plain)
    biased = ask(tmp_path, "pixie", local)
    pooled = ask(tmp_path, "local", local)

    assert share(unbiased, "-ja") < 0.4
    assert share(biased, "-ja") > 0.8
    assert share(pooled, "-ja") == 1.0
    assert share(biased, "t2-") > 0.9
    assert share(pooled[:10], "t2-") == 1.0  # the nearest of its pool, which holds all topics
