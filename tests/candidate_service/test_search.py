"""SearchPins and the sources of words and pictures through real gRPC, live pins included."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from candidate_service.config import CandidateConfig
from candidate_service.image_hash import hash_image
from candidate_service.jobs import (
    build_catalogue,
    build_content_vectors,
    build_duplicates,
    build_text_index,
)
from candidate_service.server import build
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from tests.candidate_service.jobs.test_build_duplicates import signed
from tests.candidate_service.pictures import draw, encode
from tests.candidate_service.world import make_context, write_pins, write_saves

Stub = wire_grpc.CandidateServiceStub
VISIBLE_S = 20.0
"""Promised is a second; waited is longer, as machines are shared."""


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some pins with words, vectors of text, and hashes."""
    root = tmp_path_factory.mktemp("search")
    pins = [
        {"pin_id": "bread", "title": "Sourdough bread", "language": "en", "owner_id": "ana"},
        {"pin_id": "rye", "title": "Rye bread", "language": "en", "text_vector": [0.0, 1.0]},
        {"pin_id": "brot", "title": "Roggenbrot", "language": "de", "text_vector": [0.1, 1.0]},
        {"pin_id": "tower", "title": "東京タワー", "language": "ja"},
        {"pin_id": "drawing", "image_hash": signed(hash_image(encode(draw(1))))},
        {"pin_id": "secret", "title": "Secret bread", "is_hidden": True},
    ]
    write_pins(root, pins)
    write_saves(root, [("x", "drawing"), ("x", "bread"), ("y", "drawing"), ("y", "rye")])
    for job in (build_catalogue, build_text_index, build_duplicates, build_content_vectors):
        context = make_context(root)
        job.run(context)
        context.close()
    return root


@pytest.fixture
def stub(data_root: Path) -> Iterator[Stub]:
    """Serve a copy-free data root and give a client; changes stay for the module."""
    config = CandidateConfig(
        data_root=data_root,
        port=0,
        metrics_port=0,
        sources=("text_search", "visual"),
        generation_poll_seconds=0.05,
        drain_wait_seconds=0,
        retrieval_deadline_ms=5000,
    )
    server = build(config)
    port = server.start()
    with grpc.insecure_channel(f"localhost:{port}") as channel:
        yield Stub(channel)
    server.stop()


def search(stub: Stub, **fields: object) -> list[str]:
    """Return the ids that a search finds."""
    request = wire.SearchPinsRequest(**fields)
    return [pin.pin_id for pin in stub.SearchPins(request, timeout=20).pins]


def until(seen: Callable[[], bool]) -> None:
    """Wait until a change is visible."""
    deadline = time.monotonic() + VISIBLE_S
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestSearch:
    def test_words(self, stub: Stub) -> None:
        """Best match first, titles and generation told, hidden pins not."""
        answer = stub.SearchPins(wire.SearchPinsRequest(query="sourdough BREAD"), timeout=20)

        assert [pin.pin_id for pin in answer.pins][:2] == ["bread", "rye"]
        assert answer.pins[0].title == "Sourdough bread"
        assert answer.pins[0].score > answer.pins[1].score > 0
        assert answer.generation
        assert "secret" not in {pin.pin_id for pin in answer.pins}

    def test_other_scripts_and_limit(self, stub: Stub) -> None:
        """Japanese is found by a part of a word; the limit is kept."""
        assert search(stub, query="タワー") == ["tower"]
        assert len(search(stub, query="bread", limit=1)) == 1
        assert search(stub, query="nothingofthekind") == []

    def test_vector_alone_and_fused(self, stub: Stub) -> None:
        """A vector finds what no word does; both together put the pin first that both find."""
        assert search(stub, text_vector=[0.0, 3.0]) == ["rye", "brot"]
        found = search(stub, query="bread", text_vector=[0.0, 1.0])
        assert found[0] == "rye"
        assert {"brot", "bread"} <= set(found)

    def test_filter(self, stub: Stub) -> None:
        """Only what the filter lets through, and owners may be left out."""
        german = wire.PinFilter(expression='language = "de"')
        assert search(stub, query="bread brot", text_vector=[0, 1], filter=german) == ["brot"]
        without = wire.PinFilter(excluded_owner_ids=["ana"])
        assert "bread" not in search(stub, query="bread", filter=without)

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({}, "query or text_vector must be given"),
            ({"text_vector": [1.0]}, "text_vector has 1 numbers, the catalogue's have 2"),
            ({"text_vector": [0.0, 0.0]}, "no direction"),
            ({"text_vector": [float("nan"), 1.0]}, "no direction"),
            ({"query": "x" * 501}, "query"),
            ({"query": "x", "limit": 1001}, "limit"),
            ({"query": "x", "filter": wire.PinFilter(expression="language ===")}, "filter"),
        ],
    )
    def test_bad_requests(self, stub: Stub, fields: dict[str, object], reason: str) -> None:
        """Each names its field."""
        with pytest.raises(grpc.RpcError) as caught:
            search(stub, **fields)

        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason in caught.value.details()

    @pytest.mark.parametrize("query", ['"', "a AND (", "*", "words:x", "\\", "🎂", "' OR 1=1", "-"])
    def test_odd_words_are_only_words(self, stub: Stub, query: str) -> None:
        """A search has no syntax, so nothing can be wrong with it."""
        assert isinstance(search(stub, query=query), list)


class TestLive:
    def test_new_changed_and_deleted_pins(self, stub: Stub) -> None:
        """A pin of a second ago is found, then by its new words only, then not at all."""
        pin = wire.PinRecord(pin_id="new", title="Spelt bread", text_vector=[1.0, 0.0])
        stub.UpsertPins(wire.UpsertPinsRequest(pins=[pin]), timeout=20)
        until(lambda: "new" in search(stub, query="spelt"))
        assert search(stub, text_vector=[1.0, 0.0])[0] == "new"

        pin.title = "Wooden bowl"
        stub.UpsertPins(wire.UpsertPinsRequest(pins=[pin]), timeout=20)
        until(lambda: search(stub, query="wooden bowl") == ["new"])
        assert "new" not in search(stub, query="spelt")

        stub.DeletePins(wire.DeletePinsRequest(pin_ids=["new"]), timeout=20)
        until(lambda: search(stub, query="wooden bowl") == [])

    def test_sealed_pin_is_deleted(self, stub: Stub) -> None:
        """What an index still holds is not told."""
        assert search(stub, query="タワー") == ["tower"]
        stub.DeletePins(wire.DeletePinsRequest(pin_ids=["tower"]), timeout=20)
        until(lambda: search(stub, query="タワー") == [])

        assert "tower" not in search(stub, query="タワー")

    def test_picture_that_is_none_is_refused(self, stub: Stub) -> None:
        """The pin is named, and nothing is written."""
        pin = wire.PinRecord(pin_id="bad", title="Bad", image_bytes=b"<svg/>")
        with pytest.raises(grpc.RpcError) as caught:
            stub.UpsertPins(wire.UpsertPinsRequest(pins=[pin]), timeout=20)

        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "pins[0].image_bytes" in caught.value.details()
        assert search(stub, query="bad") == []

    def test_copy_of_a_picture_is_known_at_once(self, stub: Stub) -> None:
        """A recompressed copy gets the hash of its picture and starts a visual search."""
        copy = wire.PinRecord(pin_id="copy", image_bytes=encode(draw(1), "JPEG", quality=70))
        stub.UpsertPins(wire.UpsertPinsRequest(pins=[copy]), timeout=20)
        asked = wire.GetPinsRequest(pin_ids=["copy", "drawing"])
        until(lambda: stub.GetPins(asked, timeout=20).pins[0].is_known)

        pins = stub.GetPins(asked, timeout=20).pins
        differing = pins[0].image_hash ^ pins[1].image_hash
        assert np.bitwise_count(np.uint64(differing)) <= 4


def test_sources_tell_of_themselves(stub: Stub) -> None:
    """Both are ready, with generations and the number of pins they know."""
    sources = {
        source.source: source
        for source in stub.ListSources(wire.ListSourcesRequest(), timeout=20).sources
    }

    assert sources["text_search"].is_ready
    assert sources["text_search"].pin_count >= 4
    assert set(sources["visual"].generations) == {"duplicates"}
