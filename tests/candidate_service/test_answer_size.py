"""No answer grows above what a message may hold, nor takes much memory on the way there."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from numpy.typing import NDArray

from candidate_service.answer_size import (
    TITLE_BYTES_MAX,
    AnswerTooLarge,
    entry_bytes,
    short_title,
)
from candidate_service.artifacts import Served
from candidate_service.boards import SHOWN_PIN_COUNT, FoundBoard
from candidate_service.boards_servicer import encode_boards
from candidate_service.candidate import CandidateList
from candidate_service.candidate_encoding import encode_candidates
from candidate_service.catalogue import PINS_SCHEMA, Catalogue
from candidate_service.duplicates import Duplicates
from candidate_service.live.pin_view import PinFacts
from candidate_service.live.segment import LiveChanges, LivePin, LiveSegment
from candidate_service.live_vectors import LiveVectors
from candidate_service.pins.servicer import PinVerbs
from candidate_service.query_pins import QueriedPins
from candidate_service.retrieval import Outcome, Status
from candidate_service.search_servicer import encode_found
from candidate_service.source_registry import BUILT_IN, CANDIDATE_COUNT_MAX
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from service_runtime.errors import InvalidRequest

LIMIT = 4 * 1024 * 1024
TEXT = "x" * 65_536
CONTEXT: Any = None


def long_id(at: int) -> str:
    """An id as long as it may be."""
    return f"{at:0128d}"


def live_pin(row: int, **fields: Any) -> LivePin:
    """A young pin whose texts are as long as they may be."""
    texts = {"title": TEXT, "description": TEXT, "image_url": TEXT}
    return LivePin(row, long_id(row), is_new=True, creation_time_us=1, **{**texts, **fields})


class View:
    """Knows every pin, and of each the same; counts how many were looked up."""

    def __init__(self, **known: Any) -> None:
        self.known = known
        self.count = 0
        self.columns: set[str] = set()

    def facts(
        self, pin_ids: Sequence[str], *, with_vectors: bool, columns: Sequence[str]
    ) -> list[PinFacts]:
        """As told, with texts that are as new as if they were read from a file."""
        self.count += len(pin_ids)
        self.columns = set(columns)
        vector = np.ones(4096, np.float32) if with_vectors else None
        return [
            PinFacts(
                pin_id,
                is_known=True,
                known={
                    name: value[:-1] + "y" if isinstance(value, str) else value
                    for name, value in self.known.items()
                },
                vector=vector,
            )
            for pin_id in pin_ids
        ]


class VectorsOf(LiveVectors):
    """Gives every row the same vector."""

    def __init__(self, vector: NDArray[np.float32] | None = None) -> None:
        super().__init__()
        self._of_all = vector

    def vector(self, row: int) -> NDArray[np.float32] | None:  # noqa: ARG002
        """The same, whoever asks."""
        return self._of_all


class Segment(LiveSegment):
    """Live pins alone, over a catalogue of none."""

    def __init__(self, pins: Sequence[LivePin], vector: NDArray[np.float32] | None = None) -> None:
        super().__init__()
        self.apply(LiveChanges(pins))
        self._vectors = VectorsOf(vector)

    def part(self, kind: type[Any]) -> Any:
        """The vectors, whatever is asked for."""
        assert kind is LiveVectors
        return self._vectors


class Untitled(Catalogue):
    """A catalogue without pins; nothing else of it is looked at."""

    def __init__(self) -> None:
        self.pins = PINS_SCHEMA.empty_table()

    def __len__(self) -> int:
        """None."""
        return 0


def served(live: LiveSegment) -> Served:
    """What an answer is made of."""
    return Served("g" * 64, Untitled(), live)


def queried(rows: Sequence[int] = (), unknown_count: int = 0) -> QueriedPins:
    """Query pins, and so many that nobody knows."""
    return QueriedPins(
        pin_ids=[long_id(row) for row in rows],
        rows=np.array(rows, np.int32),
        weights=np.ones(len(rows), np.float32),
        inclusion_probabilities=np.ones(len(rows)),
        query_pin_count=len(rows),
        unknown_pin_ids=[long_id(10**9 + at) for at in range(unknown_count)],
    )


def outcome(source: str, rows: Sequence[int]) -> Outcome:
    """A list in the order of rows."""
    count = len(rows)
    found = CandidateList(
        source, np.array(rows, np.int32), np.ones(count, np.float32), np.full(count, -1, np.int32)
    )
    return Outcome(Status.OK, "", found, 4_000_000_000, "a" * 200)


def retrieve(
    live: LiveSegment,
    outcomes: Sequence[Outcome],
    asked: QueriedPins | None = None,
    *,
    groups: Callable[[], Duplicates] | None = None,
    limit: int = LIMIT,
) -> wire.RetrieveCandidatesResponse:
    """An answer with these lists."""
    alone = Duplicates(np.zeros(1, np.int32), np.ones(1, np.bool_))
    return encode_candidates(
        served(live),
        queried() if asked is None else asked,
        outcomes,
        groups or (lambda: alone),
        answer_bytes_max=limit,
    )


class TestGetPins:
    """Look-ups of many pins, or of large ones."""

    def get(self, view: View, limit: int = LIMIT, **fields: Any) -> wire.GetPinsResponse:
        """Ask."""
        verbs = PinVerbs(view, answer_bytes_max=limit)
        return verbs.GetPins(wire.GetPinsRequest(**fields), CONTEXT)

    @pytest.mark.parametrize("pin_ids", [["big"] * 10_000, [str(at) for at in range(10_000)]])
    def test_too_much_is_refused_before_it_is_made(self, pin_ids: list[str]) -> None:
        """Of two gigabytes some ten megabytes are ever there, and few pins are looked up."""
        view = View(title=TEXT, description=TEXT, image_url=TEXT)
        tracemalloc.start()
        try:
            with pytest.raises(AnswerTooLarge, match="the first 21 fit") as refused:
                self.get(view, pin_ids=pin_ids)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        assert refused.value.reason == "ANSWER_TOO_LARGE"
        assert "fewer pins" in refused.value.hint
        assert view.count <= 64
        assert peak < 32 << 20

    def test_the_last_byte_is_counted(self) -> None:
        """An answer of exactly the limit is given, one of a byte more is not."""
        view, pin_ids = View(title="t" * 120, topics=["a", "b"]), [str(at) for at in range(500)]
        size = self.get(view, pin_ids=pin_ids).ByteSize()

        assert len(self.get(view, size, pin_ids=pin_ids).pins) == 500
        with pytest.raises(AnswerTooLarge):
            self.get(view, size - 1, pin_ids=pin_ids)

    def test_vectors_count(self) -> None:
        """Ten thousand ids with vectors do not fit; so many as are told of do."""
        with pytest.raises(AnswerTooLarge, match="the first 255 fit"):
            self.get(View(), pin_ids=["a"] * 10_000, with_vectors=True)
        fitting = self.get(View(), pin_ids=["a"] * 255, with_vectors=True)

        assert len(fitting.pins) == 255
        assert fitting.ByteSize() <= LIMIT

    def test_ten_thousand_usual_pins_fit(self) -> None:
        """Repeated ones too, each told as often as asked for."""
        answer = self.get(View(title="A title", owner_id="o"), pin_ids=["a", "b"] * 5000)

        assert [pin.pin_id for pin in answer.pins] == ["a", "b"] * 5000
        assert {pin.title for pin in answer.pins} == {"A titly"}

    def test_mask_leaves_out_what_is_not_wanted(self) -> None:
        """Large texts that nobody reads are no reason to refuse."""
        view = View(title="t", description=TEXT, creation_time_us=7, is_hidden=True, topics=["a"])
        mask = FieldMask(paths=["title", "creation_time"])

        answer = self.get(view, pin_ids=["a"] * 10_000, read_mask=mask)

        told = wire.Pin(pin_id="a", is_known=True, title="y")
        told.creation_time.FromMicroseconds(7)
        assert answer.pins[0] == told
        assert len(answer.pins) == 10_000
        assert view.columns == {"title", "creation_time_us"}

    @pytest.mark.parametrize("path", ["vector", "creation_time_us", "", "title.x", "x" * 9999])
    def test_mask_names_fields(self, path: str) -> None:
        """Anything else is refused, with what there is."""
        with pytest.raises(InvalidRequest, match="no field") as refused:
            self.get(View(), pin_ids=["a"], read_mask=FieldMask(paths=["title", path]))

        assert refused.value.field == "read_mask"
        assert "image_url" in refused.value.hint
        assert len(refused.value.message) < 300


class TestLivePins:
    """What is told of pins that are younger than the catalogue."""

    def test_what_a_ranker_compares_is_told_and_no_text(self) -> None:
        """Texts, addresses and attributes are a matter of GetPins."""
        pin = live_pin(
            0, topics=("a", "b"), language="ja", country="JP", owner_id="o", attributes={"k": "v"}
        )
        answer = retrieve(Segment([pin], np.array([1, 0], np.float32)), [outcome("fresh", [0])])

        told = wire.Pin(
            pin_id=long_id(0),
            is_known=True,
            is_live=True,
            topics=["a", "b"],
            language="ja",
            country="JP",
            owner_id="o",
            vector=[1, 0],
        )
        told.creation_time.FromMicroseconds(1)
        assert list(answer.live_pins) == [told]

    def test_of_a_removed_pin_its_id_is_told(self) -> None:
        """It was proposed just before it was removed."""
        pin = live_pin(0, is_removed=True, topics=("a",), owner_id="o")
        answer = retrieve(Segment([pin], np.ones(3, np.float32)), [outcome("fresh", [0])])

        assert list(answer.live_pins) == [wire.Pin(pin_id=long_id(0))]

    def test_query_pins_first_then_the_best_of_each_list(self) -> None:
        """So that what is left out is what matters least."""
        live = Segment([live_pin(row) for row in range(6)])

        answer = retrieve(
            live, [outcome("fresh", [1, 2, 3]), outcome("local", [4, 1])], queried([5])
        )

        assert [int(pin.pin_id) for pin in answer.live_pins] == [5, 1, 4, 2, 3]

    @pytest.mark.parametrize("count", [45, 2000])
    def test_many_pins_of_the_longest_texts_are_all_told(self, count: int) -> None:
        """With their topics and vectors of a usual dimension, below the limit."""
        pins = [live_pin(row, topics=("food",), owner_id=long_id(0)) for row in range(count)]
        live = Segment(pins, np.ones(256, np.float32))

        answer = retrieve(live, [outcome("fresh", range(count))])

        assert len(answer.live_pins) == count
        assert all(len(pin.vector) == 256 and pin.topics for pin in answer.live_pins)
        assert answer.ByteSize() <= LIMIT

    def test_topics_and_vectors_are_left_out_where_they_do_not_fit(self) -> None:
        """Of the last ones; who owns them and when they were made is told all the same."""
        topics = tuple(f"{at:0128d}" for at in range(64))
        pins = [live_pin(row, topics=topics, owner_id="o") for row in range(2000)]
        live = Segment(pins, np.ones(4096, np.float32))

        answer = retrieve(live, [outcome("fresh", range(2000))])

        is_full = [len(pin.vector) == 4096 and len(pin.topics) == 64 for pin in answer.live_pins]
        assert 100 < sum(is_full) < 200
        assert is_full == sorted(is_full, reverse=True)
        assert len(answer.live_pins) == 2000
        assert all(pin.owner_id == "o" for pin in answer.live_pins)
        assert LIMIT - 32_768 < answer.ByteSize() <= LIMIT

    @pytest.mark.parametrize("spare", [0, 1, 130, 131, 500, 5000])
    def test_no_room_is_no_fault(self, spare: int) -> None:
        """However little is left beside the lists, it is not passed."""
        live = Segment([live_pin(row, owner_id="o") for row in range(20)], np.ones(9, np.float32))
        lists = [outcome("fresh", range(20))]
        whole = retrieve(live, lists)
        bare = wire.RetrieveCandidatesResponse.FromString(whole.SerializeToString())
        del bare.live_pins[:]

        answer = retrieve(live, lists, limit=bare.ByteSize() + spare)

        assert answer.ByteSize() <= bare.ByteSize() + spare
        assert len(answer.pin_ids) == 20
        assert len(answer.live_pins) == min(20, spare // entry_bytes(_without_more(whole)))


def _without_more(answer: wire.RetrieveCandidatesResponse) -> wire.Pin:
    """A live pin without topics and vector."""
    pin = wire.Pin.FromString(answer.live_pins[0].SerializeToString())
    pin.ClearField("vector")
    pin.ClearField("topics")
    return pin


class TestCeilings:
    """Answers to requests that ask for all that the contract lets them."""

    def test_all_sources_at_their_largest_quotas(self) -> None:
        """Twenty thousand live pins of the longest ids, all query pins, all else unknown."""
        count = len(BUILT_IN) * CANDIDATE_COUNT_MAX
        topics = tuple(f"{at:0128d}" for at in range(64))
        live = Segment([live_pin(row, topics=topics) for row in range(count)], np.ones(4096, "f4"))
        lists = [
            outcome(name, range(at * CANDIDATE_COUNT_MAX, (at + 1) * CANDIDATE_COUNT_MAX))
            for at, name in enumerate(BUILT_IN)
        ]
        groups = Duplicates(np.arange(2**31 - 1 - count, 2**31 - 1, dtype=np.int32), None)  # type: ignore[arg-type]

        answer = retrieve(live, lists, queried(range(150), 1100), groups=lambda: groups)

        assert len(answer.pin_ids) == len(answer.duplicate_groups) == count
        assert len(answer.live_pins) > 1000
        assert answer.ByteSize() <= LIMIT

    def test_lists_that_do_not_fit_are_refused_with_what_to_do(self) -> None:
        """With sources of other packages, or a smaller limit."""
        live = Segment([live_pin(row) for row in range(2000)])

        with pytest.raises(AnswerTooLarge, match="2000 candidates") as refused:
            retrieve(live, [outcome("fresh", range(2000))], limit=200_000)

        assert "fewer candidates" in refused.value.hint

    def test_a_thousand_found_pins_of_the_longest_titles(self) -> None:
        """Titles are cut."""
        live = Segment([live_pin(row, title="é" * 32_768) for row in range(1000)])
        found = np.arange(1000, dtype=np.int32), np.ones(1000, np.float32)

        answer = encode_found(found, served(live), "g" * 64)

        assert {len(pin.title.encode()) for pin in answer.pins} == {TITLE_BYTES_MAX}
        assert answer.ByteSize() < LIMIT // 2

    def test_five_hundred_boards_of_the_longest_titles(self) -> None:
        """Titles are cut here as well."""
        live = Segment([live_pin(row) for row in range(SHOWN_PIN_COUNT)])
        rows = np.arange(SHOWN_PIN_COUNT, dtype=np.int32)
        boards = [FoundBoard(long_id(at), TEXT, 1.0, 0, 10**6, rows) for at in range(500)]

        answer = encode_boards(boards, served(live), queried([0], 1100), "g" * 64)

        assert {len(board.title) for board in answer.boards} == {TITLE_BYTES_MAX}
        assert answer.ByteSize() < LIMIT // 2


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 100_000])
def test_entries_are_counted_as_they_are_written(size: int) -> None:
    """With tag and length."""
    pin = wire.Pin(title="x" * size)

    assert entry_bytes(pin) == wire.GetPinsResponse(pins=[pin]).ByteSize()


@pytest.mark.parametrize(
    ("title", "short"),
    [
        ("", ""),
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, "x" * 1024),
        ("é" * 513, "é" * 512),
        ("x" + "é" * 512, "x" + "é" * 511),
        ("🧵" * 300, "🧵" * 256),
    ],
)
def test_titles_are_cut_between_letters(title: str, short: str) -> None:
    """At a number of bytes, never within a letter."""
    assert short_title(title) == short
