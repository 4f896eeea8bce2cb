"""The pools behind a real server: what is written now is in the next answer."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from candidate_service.config import CandidateConfig
from candidate_service.jobs import (
    build_catalogue,
    build_fresh,
    build_popular,
    build_vector_index,
    learn_vectors,
    train_pin2vec,
)
from candidate_service.server import build
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from tests.candidate_service.world import NOW_US, make_context, write_actions, write_pins

JOBS = (
    build_catalogue,
    learn_vectors,
    build_vector_index,
    build_popular,
    build_fresh,
    train_pin2vec,
)
SOURCES = ("pin2vec", "fresh", "local", "popular", "declared")
HOUR_US = 3_600_000_000


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[wire_grpc.CandidateServiceStub]:
    """Forty pins, every second Japanese, saved by twenty users three at a time."""
    root = tmp_path_factory.mktemp("site")
    write_pins(
        root,
        [
            {
                "pin_id": f"p{at:02}",
                "language": ("en", "ja")[at % 2],
                "creation_time_us": NOW_US - at * HOUR_US - 1,
                "vector": [1.0, 0.1 * at],
            }
            for at in range(40)
        ],
    )
    write_actions(
        root,
        [
            (f"u{user}", f"p{(user + step) % 40:02}", "save", NOW_US - 60_000_000 + step)
            for user in range(20)
            for step in range(3)
        ],
    )
    for job in JOBS:
        context = make_context(root, pin2vec_dimension=8, popular_segment_pin_count_min=2)
        job.run(context)
        context.close()
    config = CandidateConfig(
        data_root=root,
        port=0,
        metrics_port=0,
        sources=SOURCES,
        drain_wait_seconds=0,
        retrieval_deadline_ms=5000,
        fixed_time=NOW_US / 1e6,
        pool_refresh_seconds=0,
    )
    server = build(config)
    with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as channel:
        yield wire_grpc.CandidateServiceStub(channel)
    assert server.stop(0)


def lists_of(client: wire_grpc.CandidateServiceStub, **fields: object) -> dict[str, list[str]]:
    """Ask all sources; return each one's pins."""
    request = wire.RetrieveCandidatesRequest(**fields)  # type: ignore[arg-type]
    answer = client.RetrieveCandidates(request, timeout=10)
    assert {found.status for found in answer.lists} == {wire.SOURCE_STATUS_OK}, answer.lists
    return {
        found.source: [answer.pin_ids[at] for at in found.pin_indexes] for found in answer.lists
    }


def test_every_pool_answers_with_what_it_is_for(client: wire_grpc.CandidateServiceStub) -> None:
    """A Japanese reader, an English query pin, a session, and an interest picked at sign-up."""
    found = lists_of(
        client,
        query_pins=[wire.QueryPin(pin_id="p10", weight=1)],
        viewer=wire.Viewer(language="ja"),
        session_pin_ids=["p04"],
        declared_pin_ids=["p30"],
    )

    assert {"p05", "p11"} & set(found["pin2vec"][:4])  # saved right after p04, and beside p10
    assert "p10" not in found["pin2vec"]
    assert all(int(pin_id[1:]) % 2 == 1 for pin_id in found["local"])
    assert found["local"][0] in {"p09", "p11"}
    assert found["popular"][0] in found["local"]
    assert found["declared"][0] in {"p29", "p31"}
    assert len(found["fresh"]) == 39


def test_a_pin_made_now_is_in_the_pools_of_the_next_answer(
    client: wire_grpc.CandidateServiceStub,
) -> None:
    """Fresh at once; local to its readers; popular as soon as people save it; gone when deleted."""
    pin = wire.PinRecord(pin_id="new", language="ja", quality=1.0)
    client.UpsertPins(wire.UpsertPinsRequest(pins=[pin]), timeout=10)
    viewer = wire.Viewer(language="ja")

    made = lists_of(client, viewer=viewer)
    saves = [wire.SaveRecord(save_id=f"s{at}", pin_id="new", user_id=f"u{at}") for at in range(9)]
    client.UpsertSaves(wire.UpsertSavesRequest(saves=saves), timeout=10)
    saved = lists_of(client, viewer=viewer)
    client.DeletePins(wire.DeletePinsRequest(pin_ids=["new"]), timeout=10)
    deleted = lists_of(client, viewer=viewer)

    assert "new" in made["fresh"][:2]
    assert "new" in made["local"]
    assert "new" in made["popular"]
    assert saved["popular"][0] == saved["local"][0] == "new"
    assert saved["fresh"][0] == "new"
    assert not any("new" in pins for pins in deleted.values())


def test_sources_say_how_many_pins_they_know(client: wire_grpc.CandidateServiceStub) -> None:
    """ListSources has a size and generations for each pool."""
    sources = client.ListSources(wire.ListSourcesRequest(), timeout=10).sources

    sizes = {source.source: source.pin_count for source in sources}
    assert sizes == {"pin2vec": 20, "fresh": 40, "local": 40, "popular": 40, "declared": 40}
    assert all(source.is_ready for source in sources)
