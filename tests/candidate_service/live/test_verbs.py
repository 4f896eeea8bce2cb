"""The verbs that write, over gRPC against a real server."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from PIL import Image

from candidate_service.config import CandidateConfig
from candidate_service.jobs import build_catalogue, build_popular, export_changes
from candidate_service.server import build
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from service_runtime.grpc_server import Server
from tests.candidate_service.world import NOW_US, make_context, write_pins, write_saves

WRITTEN, UNCHANGED = wire.ITEM_CODE_WRITTEN, wire.ITEM_CODE_UNCHANGED
INVALID, UNKNOWN = wire.ITEM_CODE_INVALID, wire.ITEM_CODE_UNKNOWN


def start(data_root: Path, log_name: str = "") -> tuple[Server, int]:
    """Start a server on a data root, return it and its port."""
    config = CandidateConfig(
        data_root=data_root,
        port=0,
        metrics_port=0,
        sources=("popular",),
        generation_poll_seconds=0.05,
        drain_wait_seconds=0,
        live_poll_ms=20,
        live_log_name=log_name,
    )
    server = build(config)
    return server, server.start()


def build_all(data_root: Path) -> None:
    """Export, and build what this server reads."""
    for job in (export_changes, build_catalogue, build_popular):
        context = make_context(data_root, as_of_us=time.time_ns() // 1000)
        job.run(context)
        context.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pins with vectors and words."""
    made = tmp_path_factory.mktemp("site")
    pins = [
        {"pin_id": name, "title": f"Pin {name}", "vector": [1.0, 0.0], "creation_time_us": NOW_US}
        for name in "abc"
    ]
    write_pins(made, pins)
    write_saves(made, [("board", "a", NOW_US), ("board", "b", NOW_US)])
    build_all(made)
    return made


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[wire_grpc.CandidateServiceStub]:
    """A client of a server of it."""
    server, port = start(root)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield wire_grpc.CandidateServiceStub(channel)
    assert server.stop(0)


def upsert(
    client: wire_grpc.CandidateServiceStub, *pins: wire.PinRecord, allow_partial: bool = True
) -> wire.UpsertPinsResponse:
    """Write pins."""
    request = wire.UpsertPinsRequest(pins=pins, allow_partial=allow_partial)
    return client.UpsertPins(request, timeout=10)


def get(client: wire_grpc.CandidateServiceStub, *pin_ids: str) -> list[wire.Pin]:
    """Read pins back with their vectors."""
    request = wire.GetPinsRequest(pin_ids=pin_ids, with_vectors=True)
    return list(client.GetPins(request, timeout=10).pins)


def picture() -> bytes:
    """Return a small PNG file with something to see."""
    image = Image.new("RGB", (64, 64), "white")
    for at in range(40):
        image.putpixel((at, at // 2), (0, 0, 0))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_what_is_written_is_read_back(client: wire_grpc.CandidateServiceStub) -> None:
    """Every field, the vector at unit length, words folded as by an import."""
    pin = wire.PinRecord(
        pin_id="whole",
        title="Ünï",
        description="d",
        topics=["a", " b "],
        language=" EN ",
        country="nl",
        owner_id="o",
        image_url="https://example.org/x.png",
        attributes={"market": "eu"},
        quality=0.0,
        vector=[3.0, 4.0],
        image_bytes=picture(),
    )
    pin.creation_time.FromMicroseconds(NOW_US)
    pin.expiration_time.FromMicroseconds(4_000_000_000_000_000)

    assert upsert(client, pin).codes == [WRITTEN]
    assert upsert(client, pin).codes == [UNCHANGED]

    (found,) = get(client, "whole")
    assert (found.title, list(found.topics)) == ("Ünï", ["a", "b"])
    assert (found.language, found.country, found.owner_id) == ("en", "NL", "o")
    assert dict(found.attributes) == {"market": "eu"}
    assert found.creation_time.ToMicroseconds() == NOW_US
    assert found.expiration_time.seconds == 4_000_000_000
    assert found.HasField("quality")
    assert found.image_hash > 0
    assert list(found.vector) == pytest.approx([0.6, 0.8])
    assert found.is_known
    assert found.is_live


def test_a_mask_changes_only_what_it_names(client: wire_grpc.CandidateServiceStub) -> None:
    """Also to nothing; a pin that nobody knew begins with those fields."""
    request = wire.UpsertPinsRequest(pins=[wire.PinRecord(pin_id="c", title="ignored")])
    request.update_mask.paths.extend(["description", "quality"])
    request.pins[0].description = "new"

    assert client.UpsertPins(request, timeout=10).codes == [WRITTEN]
    assert client.UpsertPins(request, timeout=10).codes == [UNCHANGED]

    (pin,) = get(client, "c")
    assert (pin.title, pin.description, pin.is_live) == ("Pin c", "new", False)
    assert not pin.vector  # nobody built vectors here


def test_deleted_pins_are_not_known_any_more(client: wire_grpc.CandidateServiceStub) -> None:
    """At once, and until they are written again; hidden ones are known and say so."""
    upsert(client, wire.PinRecord(pin_id="gone"), wire.PinRecord(pin_id="veiled", is_hidden=True))
    request = wire.DeletePinsRequest(pin_ids=["gone", "b", "never", "gone"])

    codes = client.DeletePins(request, timeout=10).codes

    assert codes == [WRITTEN, WRITTEN, UNKNOWN, UNCHANGED]
    gone, b, veiled = get(client, "gone", "b", "veiled")
    assert not gone.is_known
    assert not b.is_known
    assert b.title == ""
    assert veiled.is_hidden
    popular = client.RetrieveCandidates(wire.RetrieveCandidatesRequest(seed=1), timeout=10)
    assert "b" not in popular.pin_ids
    assert "a" in popular.pin_ids


def test_saves_are_written_and_taken_back(client: wire_grpc.CandidateServiceStub) -> None:
    """By their id; a save without a board is on the user's own."""
    saves = [
        wire.SaveRecord(save_id="s1", board_id="x", pin_id="a", board_title="X"),
        wire.SaveRecord(save_id="s2", pin_id="brand new", user_id="ann"),
        wire.SaveRecord(save_id="a0", board_id="board", pin_id="a"),
    ]
    request = wire.UpsertSavesRequest(saves=saves)

    assert client.UpsertSaves(request, timeout=10).codes == [WRITTEN, WRITTEN, UNCHANGED]
    assert client.UpsertSaves(request, timeout=10).codes == [UNCHANGED] * 3
    assert get(client, "brand new")[0].is_known

    taken = client.DeleteSaves(wire.DeleteSavesRequest(save_ids=["s1", "a1", "no"]), timeout=10)
    assert taken.codes == [WRITTEN, WRITTEN, UNKNOWN]


BAD_PINS = {
    "pin_id": wire.PinRecord(title="no id"),
    "title": wire.PinRecord(pin_id="p", title="x" * 65_537),
    "topics": wire.PinRecord(pin_id="p", topics=[""]),
    "quality": wire.PinRecord(pin_id="p", quality=1.5),
    "attributes": wire.PinRecord(pin_id="p", attributes={"Not Lower": "x"}),
    "vector[0]": wire.PinRecord(pin_id="p", vector=[float("nan"), 1.0]),
    "vector": wire.PinRecord(pin_id="p", vector=[1.0, 0.0, 0.0]),
    "image_bytes": wire.PinRecord(pin_id="p", image_bytes=b"GIF89a no picture"),
    "owner_id": wire.PinRecord(pin_id="p", owner_id="line\nbreak"),
    "image_url": wire.PinRecord(pin_id="p", image_url="a\0.png"),
}


@pytest.mark.parametrize("field", BAD_PINS)
def test_a_bad_pin_is_refused_alone_or_with_all(
    client: wire_grpc.CandidateServiceStub, field: str
) -> None:
    """With the field and a reason; a good one beside it is written only where that is allowed."""
    good = wire.PinRecord(pin_id=f"beside {field}")

    with pytest.raises(grpc.RpcError) as refused:
        upsert(client, good, BAD_PINS[field], allow_partial=False)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"pins[1].{field}" in refused.value.details()
    assert not get(client, good.pin_id)[0].is_known

    answer = upsert(client, good, BAD_PINS[field])
    assert answer.codes == [WRITTEN, INVALID]
    (rejection,) = answer.rejections
    assert rejection.index == 1
    assert rejection.field.startswith(field)
    assert rejection.reason


@pytest.mark.parametrize(
    ("pin", "field"),
    [
        (wire.PinRecord(pin_id="p", vector=[0.0, 0.0]), "vector"),
        (wire.PinRecord(pin_id="p", creation_time={"seconds": 4_000_000_000}), "creation_time"),
        (wire.PinRecord(pin_id="p", expiration_time={"seconds": -5}), "expiration_time"),
        (wire.PinRecord(pin_id="p", expiration_time={"seconds": 2**62}), "expiration_time"),
        (wire.PinRecord(pin_id="p", creation_time={"nanos": -1}), "creation_time"),
    ],
)
def test_values_that_rules_refuse(
    client: wire_grpc.CandidateServiceStub, pin: wire.PinRecord, field: str
) -> None:
    """Zero vectors, the future, and what was before computers."""
    (rejection,) = upsert(client, pin).rejections

    assert rejection.field == field


def test_bad_saves_name_their_field(client: wire_grpc.CandidateServiceStub) -> None:
    """Neither board nor user, no pin, a time to come."""
    saves = [
        wire.SaveRecord(save_id="s", pin_id="a"),
        wire.SaveRecord(save_id="s", board_id="b"),
        wire.SaveRecord(save_id="s", board_id="b", pin_id="a", save_time={"seconds": 4 * 10**9}),
        wire.SaveRecord(save_id="s", board_id="b", pin_id="a", save_time={"nanos": -1}),
        wire.SaveRecord(save_id="good", board_id="b", pin_id="a"),
    ]

    answer = client.UpsertSaves(wire.UpsertSavesRequest(saves=saves, allow_partial=True), timeout=9)

    assert answer.codes == [INVALID] * 4 + [WRITTEN]
    fields = [one.field for one in answer.rejections]
    assert fields == ["board_id", "pin_id", "save_time", "save_time"]


@pytest.mark.parametrize("paths", [["is_hidden"], ["title", "is_live"], ["pin_id"]])
def test_a_mask_tells_some_fields(client: wire_grpc.CandidateServiceStub, paths: list[str]) -> None:
    """Of sealed pins and of live ones, and of deleted ones that they are not known."""
    upsert(
        client,
        wire.PinRecord(pin_id="masked", title="m", is_hidden=True),
        wire.PinRecord(pin_id="masked and gone", title="m"),
    )
    client.DeletePins(wire.DeletePinsRequest(pin_ids=["masked and gone"]), timeout=10)
    ids = ["a", "masked", "masked and gone", "nobody"]

    whole = client.GetPins(wire.GetPinsRequest(pin_ids=ids), timeout=10).pins
    some = client.GetPins(wire.GetPinsRequest(pin_ids=ids, read_mask={"paths": paths}), timeout=10)

    kept = {*paths, "pin_id", "is_known"}
    for pin in whole:
        for field, _ in pin.ListFields():
            if field.name not in kept:
                pin.ClearField(field.name)  # type: ignore[arg-type]
    assert list(some.pins) == list(whole)
    assert [pin.is_known for pin in some.pins] == [True, True, False, False]


@pytest.mark.parametrize(
    ("verb", "request_", "field"),
    [
        ("UpsertPins", wire.UpsertPinsRequest(), "pins"),
        (
            "UpsertPins",
            wire.UpsertPinsRequest(
                pins=[wire.PinRecord(pin_id="p")], update_mask={"paths": ["pin_id"]}
            ),
            "update_mask",
        ),
        ("UpsertSaves", wire.UpsertSavesRequest(), "saves"),
        ("DeletePins", wire.DeletePinsRequest(), "pin_ids"),
        ("DeletePins", wire.DeletePinsRequest(pin_ids=["x" * 129]), "pin_ids"),
        ("DeleteSaves", wire.DeleteSavesRequest(save_ids=[""]), "save_ids"),
        ("DeletePins", wire.DeletePinsRequest(pin_ids=["p"] * 10_001), "pin_ids"),
        ("EraseUser", wire.EraseUserRequest(), "user_id"),
        ("GetErasure", wire.GetErasureRequest(user_id="a\tb"), "user_id"),
    ],
)
def test_requests_that_are_wrong_as_a_whole(
    client: wire_grpc.CandidateServiceStub, verb: str, request_: object, field: str
) -> None:
    """INVALID_ARGUMENT that names the field."""
    with pytest.raises(grpc.RpcError) as refused:
        getattr(client, verb)(request_, timeout=10)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in refused.value.details()


def test_pins_with_very_many_faults_are_refused_at_once(
    client: wire_grpc.CandidateServiceStub,
) -> None:
    """Two million faults in four megabytes: of each pin the first is looked for."""
    pins = [wire.PinRecord(pin_id="p", topics=[""] * 1900) for _ in range(1000)]

    answer = upsert(client, *pins)
    key = upsert(client, wire.PinRecord(pin_id="p", attributes={"\x01" * 1_000_000: "x"}))

    assert answer.codes == [INVALID] * 1000
    assert key.codes == [INVALID]
    assert key.ByteSize() < 1000


def test_validate_only_changes_nothing(client: wire_grpc.CandidateServiceStub) -> None:
    """But answers as if."""
    request = wire.UpsertPinsRequest(pins=[wire.PinRecord(pin_id="dry")], validate_only=True)

    assert client.UpsertPins(request, timeout=10).codes == [WRITTEN]
    assert not get(client, "dry")[0].is_known


def test_many_writers_at_once_lose_nothing(client: wire_grpc.CandidateServiceStub) -> None:
    """Their commits are shared, their answers are their own."""

    def write(number: int) -> list[int]:
        pins = [wire.PinRecord(pin_id=f"many-{number}-{at}") for at in range(5)]
        return list(upsert(client, *pins).codes)

    with ThreadPoolExecutor(16) as pool:
        codes = [code for found in pool.map(write, range(40)) for code in found]

    assert codes == [WRITTEN] * 200
    names = [f"many-{number}-{at}" for number in range(40) for at in range(5)]
    assert all(pin.is_known for pin in get(client, *names))


def test_a_forgotten_user_is_told_store_by_store(
    client: wire_grpc.CandidateServiceStub, root: Path
) -> None:
    """Hidden at once; what files still say is counted and named."""
    save = wire.SaveRecord(save_id="mine", pin_id="a", user_id="forgotten")
    client.UpsertSaves(wire.UpsertSavesRequest(saves=[save]), timeout=10)
    build_all(root)

    receipt = client.EraseUser(wire.EraseUserRequest(user_id="forgotten"), timeout=10)

    states = {store.store: store.state for store in receipt.stores}
    assert states == {
        "live_segment": wire.ERASURE_STATE_ERASED,
        "live_log": wire.ERASURE_STATE_HIDDEN,
        "imported_saves": wire.ERASURE_STATE_HIDDEN,
        "generations": wire.ERASURE_STATE_HIDDEN,
    }
    assert all(store.detail for store in receipt.stores if store.record_count)

    build_all(root)
    answer = client.GetErasure(wire.GetErasureRequest(user_id="forgotten"), timeout=10)
    states = {store.store: store.state for store in answer.stores}
    assert states["imported_saves"] == wire.ERASURE_STATE_ERASED
    assert not answer.is_erased  # old generations and the log know it still
    for at in range(3):
        upsert(client, wire.PinRecord(pin_id=f"tick{at}"))
        build_all(root)
        _wait_for_swap(client, root)
    answer = client.GetErasure(wire.GetErasureRequest(user_id="forgotten"), timeout=10)
    assert answer.is_erased, answer
    assert client.GetErasure(wire.GetErasureRequest(user_id="stranger"), timeout=10).is_erased


def _wait_for_swap(client: wire_grpc.CandidateServiceStub, root: Path) -> None:
    """Wait until the newest catalogue serves."""
    newest = (root / "generations" / "catalogue" / "CURRENT").read_text().strip()
    for _ in range(400):
        listed = client.ListSources(wire.ListSourcesRequest(), timeout=10)
        if listed.catalogue_generation == newest:
            return
        time.sleep(0.02)
    pytest.fail("the newest catalogue was not swapped in")


def test_an_empty_service_can_be_filled_through_its_verbs(tmp_path: Path) -> None:
    """Without any import: write, build, read."""
    server, port = start(tmp_path)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        client = wire_grpc.CandidateServiceStub(channel)
        assert upsert(client, wire.PinRecord(pin_id="first", title="First")).codes == [WRITTEN]
        with pytest.raises(grpc.RpcError) as unready:
            get(client, "first")
        assert unready.value.code() is grpc.StatusCode.FAILED_PRECONDITION

        build_all(tmp_path)
        _wait_for_swap(client, tmp_path)

        assert get(client, "first")[0].title == "First"
    assert server.stop(0)


def test_what_one_replica_writes_the_other_serves(root: Path) -> None:
    """Two processes on one data root, each with a log of its own."""
    (one, port), (other, other_port) = start(root, "red"), start(root, "blue")
    with (
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        grpc.insecure_channel(f"127.0.0.1:{other_port}") as other_channel,
    ):
        upsert(wire_grpc.CandidateServiceStub(channel), wire.PinRecord(pin_id="shared"))
        reader = wire_grpc.CandidateServiceStub(other_channel)
        for _ in range(200):
            if get(reader, "shared")[0].is_known:
                break
            time.sleep(0.02)
        assert get(reader, "shared")[0].is_live
    assert one.stop(0)
    assert other.stop(0)
