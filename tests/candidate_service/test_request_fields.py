"""What a request may ask of the answer beyond query pins: filters, caps, merging, live pins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from candidate_service import catalogue, duplicates
from candidate_service.catalogue import open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.jobs import (
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
from tests.candidate_service.world import DAY_US, NOW_US, make_context, write_pins, write_saves

JOBS = (build_catalogue, build_graph, learn_vectors, build_vector_index, build_popular)
COUNT = 40


def pin_record(at: int) -> dict[str, object]:
    """A row of the world: every second pin Japanese, four owners, prices, one duplicate group."""
    return {
        "pin_id": f"p{at:02d}",
        "language": ("en", "ja")[at % 2],
        "country": ("US", "JP")[at % 2],
        "owner_id": f"o{at % 4}",
        "topics": ["food"] if at < 20 else ["cars"],
        "vector": [1.0, 0.01 * at, 0.0],
        "quality": 0.1 if at == 5 else 0.9,
        "attributes": [("price", str(at))],
        "creation_time_us": NOW_US - 1 - at * DAY_US,
    }


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pins along one direction, two boards, and pins 10 to 12 of one picture."""
    root = tmp_path_factory.mktemp("world")
    write_pins(root, [pin_record(at) for at in range(COUNT)])
    write_saves(
        root, [("big" if at < 30 else "small", f"p{at:02d}", NOW_US - 1) for at in range(COUNT)]
    )
    for job in JOBS:
        if job is build_vector_index:
            publish_duplicates(root)
        context = make_context(root, index_quality_min=0.5)
        job.run(context)
        context.close()
    return root


def publish_duplicates(root: Path) -> None:
    """Say that pins 10, 11 and 12 show one picture, of which pin 10 stands for all."""
    store = GenerationStore(root / "generations")
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    groups = np.zeros(COUNT, np.int32)
    groups[10:13] = 7
    found = duplicates.Duplicates(groups, (groups == 0) | (np.arange(COUNT) == 10))
    with store.draft(duplicates.ARTIFACT, format_version=duplicates.FORMAT_VERSION) as draft:
        duplicates.write_duplicates(draft, found)
        draft.publish(
            as_of_us=NOW_US,
            inputs={},
            counts={},
            quality={},
            details={**open_catalogue(source).lineage(), "pin_count": COUNT},
        )


def serve(root: Path, **settings: object) -> Iterator[wire_grpc.CandidateServiceStub]:
    """Serve a data root, and give a client."""
    config = CandidateConfig(
        data_root=root,
        port=0,
        metrics_port=0,
        sources=("ann", "popular"),
        filters={"market": "country = $country"},
        ann_recall_sample_every=1,
        drain_wait_seconds=0,
        retrieval_deadline_ms=5000,
        **settings,  # type: ignore[arg-type]
    )
    server = build(config)
    with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as channel:
        yield wire_grpc.CandidateServiceStub(channel)
    assert server.stop(0)


@pytest.fixture(scope="module")
def client(data_root: Path) -> Iterator[wire_grpc.CandidateServiceStub]:
    """A client of a server that only reads."""
    yield from serve(data_root)


def near(
    client: wire_grpc.CandidateServiceStub, source: str = "ann", **fields: object
) -> list[str]:
    """Ask for what is near pin 00, and return one list's ids."""
    request = wire.RetrieveCandidatesRequest(
        query_pins=[wire.QueryPin(pin_id="p00", weight=1)],
        sources=[wire.SourceQuota(source=source)],
        **fields,  # type: ignore[arg-type]
    )
    answer = client.RetrieveCandidates(request, timeout=10)
    assert answer.lists[0].status == wire.SOURCE_STATUS_OK, answer.lists[0].reason
    return [answer.pin_ids[at] for at in answer.lists[0].pin_indexes]


def numbers(pin_ids: list[str]) -> list[int]:
    """Return pins by number."""
    return [int(pin_id[1:]) for pin_id in pin_ids]


@pytest.mark.parametrize("source", ["ann", "popular"])
@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        ({"expression": 'language = "ja"'}, lambda at: at % 2 == 1),
        ({"expression": 'topics : "cars" AND attributes.price < 30'}, lambda at: 20 <= at < 30),
        ({"name": "market", "parameters": {"country": "jp"}}, lambda at: at % 2 == 1),
        ({"excluded_owner_ids": ["o0", "o3"]}, lambda at: at % 4 in (1, 2)),
        (
            {"expression": "quality > 0.5", "excluded_owner_ids": ["o1"]},
            lambda at: at != 5 and at % 4 != 1,
        ),
        ({"expression": 'title : "nothing"'}, lambda _: False),
    ],
)
def test_filters(
    client: wire_grpc.CandidateServiceStub, source: str, wanted: dict[str, object], holds: object
) -> None:
    """Both a source that searches and one with prepared lists answer what holds, and all of it."""
    found = numbers(near(client, source, filter=wire.PinFilter(**wanted)))  # type: ignore[arg-type]

    searched = {*range(COUNT)} - ({0, 5, 11, 12} if source == "ann" else {0})
    assert set(found) >= {at for at in searched if holds(at)} - {0, 5}  # type: ignore[operator]
    assert all(holds(at) for at in found)  # type: ignore[operator]


def test_local_pins_only(client: wire_grpc.CandidateServiceStub) -> None:
    """The viewer's language or country decides; without either nobody can say what is local."""
    local = wire.PinFilter(is_local_only=True)

    found = numbers(near(client, filter=local, viewer=wire.Viewer(language="ja-JP")))

    assert found
    assert all(at % 2 == 1 for at in found)
    with pytest.raises(grpc.RpcError) as refused:
        near(client, filter=local)
    assert "filter.is_local_only" in refused.value.details()


def test_ages(client: wire_grpc.CandidateServiceStub) -> None:
    """The world is years old: no pin is younger than a week, all are older than a day."""
    young, old = wire.PinFilter(), wire.PinFilter()
    young.age_max.FromSeconds(7 * 86_400)
    old.age_min.FromSeconds(86_400)

    assert near(client, filter=young) == []
    assert len(near(client, filter=old)) == COUNT - 4


def test_poor_pins_and_duplicates_are_not_searched(
    client: wire_grpc.CandidateServiceStub,
) -> None:
    """One pin of each picture is found, none below the floor; other lists tell the groups."""
    found = numbers(near(client))
    request = wire.RetrieveCandidatesRequest(sources=[wire.SourceQuota(source="popular")])
    answer = client.RetrieveCandidates(request, timeout=10)

    assert 10 in found
    assert {5, 11, 12}.isdisjoint(found)
    groups = dict(zip(answer.pin_ids, answer.duplicate_groups, strict=True))
    assert {pin_id for pin_id, group in groups.items() if group == 7} == {"p10", "p11", "p12"}
    assert set(groups.values()) == {0, 7}


def test_caps(client: wire_grpc.CandidateServiceStub) -> None:
    """At most so many of an owner, and of a pin's largest board; the nearest stay."""
    by_owner = numbers(near(client, owner_pin_count_max=2))
    by_board = numbers(near(client, board_pin_count_max=3))
    both = numbers(near(client, owner_pin_count_max=1, board_pin_count_max=1))

    assert by_owner == [1, 2, 3, 4, 6, 7, 8, 9]
    assert by_board == [1, 2, 3, 30, 31, 32]
    assert len(both) <= 2


def test_merge_and_medoid_choice(client: wire_grpc.CandidateServiceStub) -> None:
    """All medoids are queried when asked for, the most important ones up to a bound."""
    medoids = [wire.QueryPin(pin_id=f"p{at:02d}", weight=1 + at) for at in range(30)]
    sampled = wire.RetrieveCandidatesRequest(medoids=medoids, seed=3)
    every = wire.RetrieveCandidatesRequest(
        medoids=medoids,
        medoid_choice=wire.MEDOID_CHOICE_ALL,
        query_merge=wire.QUERY_MERGE_BEST_SCORE,
    )

    few, all_of_them = (client.RetrieveCandidates(one, timeout=10) for one in (sampled, every))

    assert len(few.queried_pins) == 3
    assert len(all_of_them.queried_pins) == 30
    assert {pin.inclusion_probability for pin in all_of_them.queried_pins} == {1.0}
    assert (np.diff(all_of_them.lists[0].scores) <= 0).all()


def test_actions_weigh_query_pins(client: wire_grpc.CandidateServiceStub) -> None:
    """A hidden pin is no query pin; an unknown action is refused with its field."""
    pins = [
        wire.QueryPin(pin_id="p01", weight=1, action_type="save"),
        wire.QueryPin(pin_id="p02", weight=1, action_type="hide"),
    ]
    answer = client.RetrieveCandidates(wire.RetrieveCandidatesRequest(query_pins=pins), timeout=10)
    pins[0].action_type = "licked"
    with pytest.raises(grpc.RpcError) as refused:
        client.RetrieveCandidates(wire.RetrieveCandidatesRequest(query_pins=pins), timeout=10)

    assert [pin.pin_id for pin in answer.queried_pins] == ["p01"]
    assert "query_pins[0].action_type" in refused.value.details()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"filter": wire.PinFilter(expression="language ==")}, "filter.expression"),
        ({"filter": wire.PinFilter(expression="x" * 2001)}, "filter.expression"),
        ({"filter": wire.PinFilter(name="nobody")}, "filter.name"),
        ({"filter": wire.PinFilter(name="market")}, "filter.parameters"),
        ({"filter": wire.PinFilter(parameters={"a": "b"})}, "filter.parameters"),
        ({"filter": wire.PinFilter(parameters={"a": "b" * 501})}, "filter.parameters"),
        ({"filter": wire.PinFilter(excluded_owner_ids=[""])}, "filter.excluded_owner_ids[0]"),
        ({"filter": wire.PinFilter(excluded_owner_ids=["o"] * 1001)}, "filter.excluded_owner_ids"),
        ({"medoid_choice": 9}, "medoid_choice"),
        ({"query_merge": 9}, "query_merge"),
        ({"owner_pin_count_max": 2001}, "owner_pin_count_max"),
        ({"board_pin_count_max": 2001}, "board_pin_count_max"),
        ({"session_pin_ids": ["x"] * 101}, "session_pin_ids"),
        ({"declared_pin_ids": ["\n"]}, "declared_pin_ids[0]"),
        ({"query_text": "x" * 501}, "query_text"),
    ],
)
def test_bad_fields_are_named(
    client: wire_grpc.CandidateServiceStub, fields: dict[str, object], named: str
) -> None:
    """Whatever is out of its range is refused with the field, and nothing breaks."""
    with pytest.raises(grpc.RpcError) as refused:
        near(client, **fields)

    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert named in refused.value.details()


def test_list_sources_tells_figures(client: wire_grpc.CandidateServiceStub) -> None:
    """Sizes, ages, answers, hit rate and sampled recall; what a search never had stays unset."""
    while True:
        near(client)
        listed = client.ListSources(wire.ListSourcesRequest(), timeout=10)
        ann, popular = listed.sources
        if ann.HasField("sampled_recall"):
            break

    assert ann.pin_count == COUNT - 3
    assert ann.answer_count >= 1
    assert 0 < ann.cache_hit_ratio < 1
    assert ann.sampled_recall == 1.0
    assert ann.as_of_time.ToMicroseconds() == NOW_US
    assert not popular.HasField("sampled_recall")
    assert listed.catalogue_as_of_time.ToMicroseconds() == NOW_US
    assert listed.live_change_count == 0


def test_live_pins_are_answered_and_filtered(data_root: Path, tmp_path: Path) -> None:
    """A pin upserted a moment ago is found, told of, filtered, and gone when deleted."""
    import shutil

    shutil.copytree(data_root, tmp_path / "world")
    for client in serve(tmp_path / "world"):
        record = wire.PinRecord(
            pin_id="q99",
            title="new",
            language="ja",
            owner_id="o9",
            attributes={"price": "7"},
            vector=[2.0, 0.0, 0.0],
        )
        client.UpsertPins(wire.UpsertPinsRequest(pins=[record]), timeout=10)
        while "q99" not in near(client):
            pass
        request = wire.RetrieveCandidatesRequest(
            query_pins=[wire.QueryPin(pin_id="q99", weight=1)],
            sources=[wire.SourceQuota(source="ann")],
        )
        answer = client.RetrieveCandidates(request, timeout=10)
        cheap = near(client, filter=wire.PinFilter(expression="attributes.price < 8"))
        dear = near(client, filter=wire.PinFilter(expression="attributes.price > 8"))
        others = near(client, filter=wire.PinFilter(excluded_owner_ids=["o9"]))
        changed = client.ListSources(wire.ListSourcesRequest(), timeout=10).live_change_count
        client.DeletePins(wire.DeletePinsRequest(pin_ids=["q99", "p01"]), timeout=10)
        while {"q99", "p01"} & set(near(client)):
            pass

        assert [(pin.pin_id, pin.language, pin.owner_id) for pin in answer.live_pins] == [
            ("q99", "ja", "o9")
        ]
        assert [(pin.is_live, pin.title) for pin in answer.live_pins] == [(True, "")]
        assert list(answer.live_pins[0].vector) == [1.0, 0.0, 0.0]
        assert "p01" in [answer.pin_ids[at] for at in answer.lists[0].pin_indexes]
        assert "q99" in cheap
        assert "q99" not in dear + others
        assert changed == 1
