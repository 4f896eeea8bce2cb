"""The whole service on a small world, through real gRPC."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from candidate_service import vector_index
from candidate_service.config import CandidateConfig
from candidate_service.index_settings import IndexSettings
from candidate_service.jobs import (
    build_board_cooccurrence,
    build_catalogue,
    build_graph,
    build_popular,
    build_vector_index,
    learn_vectors,
)
from candidate_service.server import build
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from service_runtime.generations import GenerationStore
from tests.candidate_service.world import NOW_US, make_context, write_pins, write_saves

JOBS = (build_catalogue, learn_vectors, build_vector_index, build_popular)
BLOB_SIZE = 30
SPINE_SOURCES = ("ann", "board_cooccurrence", "pixie", "popular")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups of pins, cats and ships, each along one axis, and their artifacts."""
    data_root = tmp_path_factory.mktemp("world")
    write_pins(
        data_root,
        [
            {
                "pin_id": f"{name}{at:02d}",
                "title": f"{name} number {at}",
                "language": ("en", "ja")[axis],
                "vector": [1.0 - axis, float(axis), 0.01 * at],
                "creation_time_us": NOW_US - 1,
            }
            for axis, name in enumerate(("cat", "ship"))
            for at in range(BLOB_SIZE)
        ],
    )
    write_saves(data_root, [("b", "ship07", NOW_US - 1), ("c", "ship07", NOW_US - 1)])
    write_saves(data_root, [("pets", f"cat0{at}", NOW_US - 2 - at) for at in range(5)], file="pets")
    run_jobs(data_root)
    for job in (build_graph, build_board_cooccurrence):
        job.run(make_context(data_root))
    return data_root


def run_jobs(data_root: Path) -> None:
    """Build everything that the sources of this test read."""
    for job in JOBS:
        context = make_context(data_root)
        job.run(context)
        context.close()


def serve(
    data_root: Path, sources: tuple[str, ...] = ("ann", "popular")
) -> Iterator[wire_grpc.CandidateServiceStub]:
    """Serve a data root, and give a client."""
    config = CandidateConfig(
        data_root=data_root,
        port=0,
        metrics_port=0,
        sources=sources,
        generation_poll_seconds=0.05,
        drain_wait_seconds=0,
        retrieval_deadline_ms=5000,
    )
    server = build(config)
    port = server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield wire_grpc.CandidateServiceStub(channel)
    assert server.stop(0)


@pytest.fixture(scope="module")
def client(built: Path) -> Iterator[wire_grpc.CandidateServiceStub]:
    """A client of a server of the world."""
    yield from serve(built)


def query_pin(pin_id: str, weight: float = 1.0) -> wire.QueryPin:
    """Return a query pin."""
    return wire.QueryPin(pin_id=pin_id, weight=weight)


def ids_of(answer: wire.RetrieveCandidatesResponse, source: str) -> list[str]:
    """Return one list's pins by id."""
    (found,) = [one for one in answer.lists if one.source == source]
    assert found.status == wire.SOURCE_STATUS_OK, found.reason
    return [answer.pin_ids[at] for at in found.pin_indexes]


def test_related_pins(client: wire_grpc.CandidateServiceStub) -> None:
    """One query pin: its neighbours, what is popular, and who is behind each."""
    request = wire.RetrieveCandidatesRequest(query_pins=[query_pin("cat03")], seed=1)

    answer = client.RetrieveCandidates(request, timeout=10)

    near = ids_of(answer, "ann")
    assert near[:2] in (["cat02", "cat04"], ["cat04", "cat02"])
    assert "cat03" not in near
    assert ids_of(answer, "popular")[0] == "ship07"
    assert set(answer.lists[0].query_indexes) == {0}
    assert set(answer.lists[1].query_indexes) == {-1}
    assert len(answer.pin_ids) == len(set(answer.pin_ids))
    assert [pin.pin_id for pin in answer.queried_pins] == ["cat03"]
    assert answer.lists[0].generation.startswith("vector_index=")
    assert answer.catalogue_generation


def test_all_sources_answer(built: Path) -> None:
    """With everything built each source proposes the pins of the query pin's board or kind."""
    for client in serve(built, SPINE_SOURCES):
        request = wire.RetrieveCandidatesRequest(
            query_pins=[query_pin("cat03")], viewer=wire.Viewer(language="en"), seed=3
        )

        answer = client.RetrieveCandidates(request, timeout=10)

        assert [found.source for found in answer.lists] == list(SPINE_SOURCES)
        others = {"cat00", "cat01", "cat02", "cat04"}
        assert set(ids_of(answer, "board_cooccurrence")) == others
        assert set(ids_of(answer, "pixie")) == others
        assert set(ids_of(answer, "ann")) > others
        assert len(answer.pin_ids) == len(set(answer.pin_ids))


def test_home_feed_samples_medoids(client: wire_grpc.CandidateServiceStub) -> None:
    """Of four medoids three are sampled, each with its chance; the heavy one nearly always is."""
    request = wire.RetrieveCandidatesRequest(
        medoids=[query_pin(f"cat0{at}", weight) for at, weight in enumerate((100.0, 1, 1, 1))],
        seed=5,
    )

    answer = client.RetrieveCandidates(request, timeout=10)

    assert len(answer.queried_pins) == 3
    assert all(pin.is_medoid for pin in answer.queried_pins)
    assert answer.queried_pins[0].pin_id == "cat00"
    assert answer.queried_pins[0].inclusion_probability > 0.99
    assert 0 < answer.queried_pins[1].inclusion_probability < 0.8


def test_same_request_same_answer(client: wire_grpc.CandidateServiceStub) -> None:
    """An answer can be replayed, but for how long it took."""
    request = wire.RetrieveCandidatesRequest(
        medoids=[query_pin(f"cat{at:02d}", 1.0 + at) for at in range(20)], seed=9
    )
    first, second = (client.RetrieveCandidates(request, timeout=10) for _ in range(2))
    for answer in (first, second):
        for found in answer.lists:
            found.duration_us = 0

    assert first == second


def test_quota_and_choice_of_sources(client: wire_grpc.CandidateServiceStub) -> None:
    """Only what was asked for answers, with at most so many."""
    request = wire.RetrieveCandidatesRequest(
        query_pins=[query_pin("cat03")],
        sources=[wire.SourceQuota(source="ann", candidate_count=4)],
    )

    answer = client.RetrieveCandidates(request, timeout=10)

    assert [found.source for found in answer.lists] == ["ann"]
    assert len(ids_of(answer, "ann")) == 4


def test_excluded_pins_are_left_out(client: wire_grpc.CandidateServiceStub) -> None:
    """No source proposes an excluded pin; unknown excluded ids do no harm."""
    excluded = ["cat02", "cat04", "ship07", "nobody knows"]
    request = wire.RetrieveCandidatesRequest(
        query_pins=[query_pin("cat03")], excluded_pin_ids=excluded
    )

    answer = client.RetrieveCandidates(request, timeout=10)

    assert set(excluded).isdisjoint(answer.pin_ids)
    assert len(ids_of(answer, "ann")) > 10


def test_viewer_sees_local_pins_first(client: wire_grpc.CandidateServiceStub) -> None:
    """A Japanese reader without any query pin gets Japanese pins."""
    request = wire.RetrieveCandidatesRequest(viewer=wire.Viewer(language="ja-JP"))

    answer = client.RetrieveCandidates(request, timeout=10)

    assert all(pin_id.startswith("ship") for pin_id in ids_of(answer, "popular")[:BLOB_SIZE])
    assert ids_of(answer, "ann") == []


def test_unknown_query_pin_is_not_found(client: wire_grpc.CandidateServiceStub) -> None:
    """When the only pin to start from is unknown the answer says which."""
    request = wire.RetrieveCandidatesRequest(query_pins=[query_pin("dog99")])

    with pytest.raises(grpc.RpcError) as refused:
        client.RetrieveCandidates(request, timeout=10)

    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert "dog99" in refused.value.details()


def test_unknown_pin_among_known_ones_is_named(client: wire_grpc.CandidateServiceStub) -> None:
    """The others are queried all the same."""
    request = wire.RetrieveCandidatesRequest(query_pins=[query_pin("dog99"), query_pin("cat03")])

    answer = client.RetrieveCandidates(request, timeout=10)

    assert list(answer.unknown_pin_ids) == ["dog99"]
    assert [pin.pin_id for pin in answer.queried_pins] == ["cat03"]


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({"sources": [wire.SourceQuota(source="magic")]}, "sources[0].source"),
        (
            {"sources": [wire.SourceQuota(source="ann"), wire.SourceQuota(source="ann")]},
            "sources[1].source",
        ),
        ({"query_pins": [wire.QueryPin(pin_id="cat01", weight=0)]}, "query_pins[0].weight"),
        (
            {"query_pins": [wire.QueryPin(pin_id="cat01", weight=float("nan"))]},
            "query_pins[0].weight",
        ),
        ({"query_pins": [wire.QueryPin(pin_id="", weight=1)]}, "query_pins[0].pin_id"),
        ({"medoid_sample_count": 51}, "medoid_sample_count"),
        (
            {"sources": [wire.SourceQuota(source="ann", candidate_count=2001)]},
            "sources[0].candidate_count",
        ),
        ({"excluded_pin_ids": ["x" * 129]}, "excluded_pin_ids[0]"),
    ],
)
def test_bad_request_names_the_field(
    request_fields: dict[str, object],
    field: str,
    client: wire_grpc.CandidateServiceStub,
) -> None:
    """What is out of its range is refused, with the field."""
    with pytest.raises(grpc.RpcError) as refused:
        client.RetrieveCandidates(wire.RetrieveCandidatesRequest(**request_fields), timeout=10)  # type: ignore[arg-type]

    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field in refused.value.details()


def test_deadline_too_short_for_any_source(client: wire_grpc.CandidateServiceStub) -> None:
    """Sources that had no time are named late instead of being shown as having found nothing."""
    request = wire.RetrieveCandidatesRequest(query_pins=[query_pin("cat03")])

    try:
        answer = client.RetrieveCandidates(request, timeout=0.014)  # below margin and grace
    except grpc.RpcError as refused:
        assert refused.code() == grpc.StatusCode.DEADLINE_EXCEEDED  # noqa: PT017  a slow machine
    else:
        assert answer.lists[0].status == wire.SOURCE_STATUS_LATE
        assert ids_of(answer, "popular")


def test_get_pins(client: wire_grpc.CandidateServiceStub) -> None:
    """Known pins come with what was imported, unknown ones marked, in the order asked."""
    answer = client.GetPins(wire.GetPinsRequest(pin_ids=["ship02", "dog99", "cat01"]), timeout=10)

    assert [pin.pin_id for pin in answer.pins] == ["ship02", "dog99", "cat01"]
    assert [pin.is_known for pin in answer.pins] == [True, False, True]
    assert answer.pins[0].title == "ship number 2"
    assert answer.pins[0].language == "ja"
    assert answer.pins[0].creation_time.ToMicroseconds() == NOW_US - 1
    assert not answer.pins[1].HasField("creation_time")


def test_list_sources(client: wire_grpc.CandidateServiceStub) -> None:
    """Each source with its generations."""
    answer = client.ListSources(wire.ListSourcesRequest(), timeout=10)

    assert [source.source for source in answer.sources] == ["ann", "popular"]
    assert all(source.is_ready for source in answer.sources)
    assert set(answer.sources[0].generations) == {"vector_index"}
    assert answer.pin_count == 2 * BLOB_SIZE


def test_missing_artifact_disables_its_source_only(built: Path, tmp_path: Path) -> None:
    """Without an index `ann` is named as not ready; the others answer."""
    shutil.copytree(built, tmp_path / "world")
    shutil.rmtree(tmp_path / "world" / "generations" / "vector_index")
    for client in serve(tmp_path / "world"):
        answer = client.RetrieveCandidates(
            wire.RetrieveCandidatesRequest(query_pins=[query_pin("cat03")]), timeout=10
        )

        statuses = {found.source: found.status for found in answer.lists}
        assert statuses == {
            "ann": wire.SOURCE_STATUS_NOT_READY,
            "popular": wire.SOURCE_STATUS_OK,
        }
        listed = client.ListSources(wire.ListSourcesRequest(), timeout=10)
        assert [source.is_ready for source in listed.sources] == [False, True]
        assert "vector_index" in listed.sources[0].reason


def test_damaged_artifact_disables_its_source_only(built: Path, tmp_path: Path) -> None:
    """One flipped bit in the lists: refused by its checksum, named, the others answer."""
    shutil.copytree(built, tmp_path / "world")
    (rows,) = (tmp_path / "world" / "generations" / "popular").glob("*/rows.npy")
    data = bytearray(rows.read_bytes())
    data[-1] ^= 1
    rows.write_bytes(data)
    for client in serve(tmp_path / "world"):
        answer = client.RetrieveCandidates(
            wire.RetrieveCandidatesRequest(query_pins=[query_pin("cat03")]), timeout=10
        )

        assert ids_of(answer, "ann")
        assert answer.lists[1].status == wire.SOURCE_STATUS_NOT_READY
        assert "rows.npy" in answer.lists[1].reason


def test_nothing_built_yet(tmp_path: Path) -> None:
    """Without a catalogue a call says what to do first, and works once that was done."""
    for client in serve(tmp_path):
        request = wire.RetrieveCandidatesRequest(query_pins=[query_pin("p0")])
        with pytest.raises(grpc.RpcError) as refused:
            client.RetrieveCandidates(request, timeout=10)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert "catalogue" in refused.value.details()
        listed = client.ListSources(wire.ListSourcesRequest(), timeout=10)
        assert (listed.pin_count, [source.is_ready for source in listed.sources]) == (
            0,
            [False] * 2,
        )

        write_pins(tmp_path, [{"pin_id": f"p{at}", "vector": [1.0, 0.1 * at]} for at in range(5)])
        run_jobs(tmp_path)
        answer = _ask_until_found(client, request)
        assert ids_of(answer, "ann") == ["p1", "p2", "p3", "p4"]


def test_empty_world(tmp_path: Path) -> None:
    """Everything was built from nothing: empty lists and a clear no, nothing breaks."""
    run_jobs(tmp_path)
    for client in serve(tmp_path):
        answer = client.RetrieveCandidates(wire.RetrieveCandidatesRequest(), timeout=10)
        with pytest.raises(grpc.RpcError) as refused:
            client.RetrieveCandidates(
                wire.RetrieveCandidatesRequest(query_pins=[query_pin("p")]), timeout=10
            )

        assert [ids_of(answer, source) for source in ("ann", "popular")] == [[], []]
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_many_callers_at_once(client: wire_grpc.CandidateServiceStub) -> None:
    """Sixteen callers get what one caller gets."""
    requests = [
        wire.RetrieveCandidatesRequest(query_pins=[query_pin(f"cat{at:02d}")], seed=at)
        for at in range(BLOB_SIZE)
    ]
    alone = [ids_of(client.RetrieveCandidates(one, timeout=30), "ann") for one in requests]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda one: client.RetrieveCandidates(one, timeout=30), requests))

    assert [ids_of(answer, "ann") for answer in answers] == alone


def test_new_generations_are_swapped_in_while_serving(built: Path, tmp_path: Path) -> None:
    """A pin imported later is found without a restart; a foreign row space is not served."""
    shutil.copytree(built, tmp_path / "world")
    for client in serve(tmp_path / "world"):
        write_pins(
            tmp_path / "world",
            [{"pin_id": "kitten", "vector": [1.0, 0.0, 0.035], "import_seq": 99}],
            file="later",
        )
        run_jobs(tmp_path / "world")
        request = wire.RetrieveCandidatesRequest(query_pins=[query_pin("kitten")])

        answer = _ask_until_found(client, request)

        assert set(ids_of(answer, "ann")[:2]) == {"cat03", "cat04"}


def _ask_until_found(
    client: wire_grpc.CandidateServiceStub, request: wire.RetrieveCandidatesRequest
) -> wire.RetrieveCandidatesResponse:
    """Ask until every source answers from what was just built; the test's time limit ends it."""
    while True:
        try:
            answer = client.RetrieveCandidates(request, timeout=10)
        except grpc.RpcError:
            continue
        if all(found.status == wire.SOURCE_STATUS_OK for found in answer.lists) and ids_of(
            answer, "ann"
        ):
            return answer


def test_generation_of_the_wrong_dimension_is_refused(built: Path, tmp_path: Path) -> None:
    """A graph that does not fit the vectors beside it is not swapped in; the old one serves."""
    shutil.copytree(built, tmp_path / "world")
    store = GenerationStore(tmp_path / "world" / "generations")
    source = store.current("vector_index")
    assert source is not None
    vectors = np.random.default_rng(1).standard_normal((2 * BLOB_SIZE, 7)).astype(np.float32)
    with store.draft(vector_index.ARTIFACT, format_version=vector_index.FORMAT_VERSION) as draft:
        vector_index.build_index(
            vectors,
            draft.path(vector_index.INDEX_FILE),
            IndexSettings(exact_count_max=0),
            rng=np.random.default_rng(1),
            advance=lambda _: None,
        )
        for name in (vector_index.VECTORS_FILE, vector_index.FINDABLE_FILE):
            shutil.copy(source.file(name), draft.path(name))
        details = {**source.manifest.details, "is_exact": False, "expansion_search": 64}
        wrong = draft.publish(as_of_us=1, inputs={}, counts={}, quality={}, details=details)
    for client in serve(tmp_path / "world"):
        answer = client.RetrieveCandidates(
            wire.RetrieveCandidatesRequest(query_pins=[query_pin("cat03")]), timeout=10
        )

        assert store.current_id("vector_index") == wrong.id
        assert answer.lists[0].generation == f"vector_index={source.id}"
        assert ids_of(answer, "ann")
