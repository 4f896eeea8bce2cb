"""From live logs to the next generation: nothing lost, nothing twice, whoever ran meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from candidate_service import save_index
from candidate_service.artifacts import Artifacts
from candidate_service.candidate import Segment
from candidate_service.jobs import build_catalogue, export_changes
from candidate_service.live import journal as live_journal
from candidate_service.live.exported import exported_positions
from candidate_service.live.journal import JournalSettings, LiveJournal
from candidate_service.live.transaction import ItemCode, PinChange, SaveChange
from candidate_service.save_index import SaveIndex
from service_runtime.errors import NotReady, Unavailable
from service_runtime.event_log import EventLog, end_position
from service_runtime.generations import GenerationStore
from tests.candidate_service.world import NOW_US, make_context, write_pins, write_saves

SECOND = 1_000_000
WRITTEN, UNCHANGED, UNKNOWN = ItemCode.WRITTEN, ItemCode.UNCHANGED, ItemCode.UNKNOWN


class Site:
    """A data root with one serving process, and a clock that only we move."""

    def __init__(self, root: Path, log_name: str = "", now_us: int = NOW_US) -> None:
        self.root = root
        self.now_us = now_us
        self.vectors: np.ndarray[Any, Any] | None = None
        self.artifacts = Artifacts(GenerationStore(root / "generations"))
        index = self.artifacts.add(save_index.ARTIFACT, 1, SaveIndex.open)

        def index_or_none() -> SaveIndex | None:
            try:
                return index()
            except NotReady:
                return None

        self.journal = LiveJournal(
            JournalSettings(
                folder=root / live_journal.FOLDER,
                log_name=log_name,
                exported=exported_positions(root),
                poll_seconds=0.01,
                clock_us=lambda: self.now_us,
                save_index=index_or_none,
                vectors=lambda: self.vectors,
            )
        )
        self.artifacts.follow(self.journal)

    def pins(self, *pins: dict[str, Any], is_whole: bool = True) -> list[ItemCode]:
        """Add pins or change them."""
        self.now_us += SECOND
        changes = [
            PinChange(str(pin["pin_id"]), {n: v for n, v in pin.items() if n != "pin_id"}, is_whole)
            for pin in pins
        ]
        return [one.code for one in self.journal.commit(lambda open_: open_.upsert_pins(changes))]

    def saves(self, *saves: tuple[str, str, str], user: str = "") -> list[ItemCode]:
        """Make saves, each (save, board, pin)."""
        self.now_us += SECOND
        changes = [SaveChange(*save, user) for save in saves]
        return [one.code for one in self.journal.commit(lambda open_: open_.upsert_saves(changes))]

    def delete(self, *pins: str) -> list[ItemCode]:
        """Remove pins."""
        self.now_us += SECOND
        return [one.code for one in self.journal.commit(lambda open_: open_.delete_pins(pins))]

    def take_back(self, *saves: str) -> list[ItemCode]:
        """Take saves back."""
        self.now_us += SECOND
        return [one.code for one in self.journal.commit(lambda open_: open_.delete_saves(saves))]

    def export(self) -> dict[str, Any]:
        """Run the job that exports."""
        self.now_us += SECOND
        context = make_context(self.root, as_of_us=self.now_us)
        report = dict(export_changes.run(context))
        context.close()
        return report

    def build(self, *, is_swapped: bool = True) -> None:
        """Run the job that builds the catalogue, and swap it in."""
        context = make_context(self.root, as_of_us=self.now_us)
        build_catalogue.run(context)
        context.close()
        if is_swapped:
            self.swap()

    def swap(self) -> None:
        """Do what the watcher does."""
        for live in self.artifacts.lives():
            live.poll()

    def known(self, pin_id: str) -> dict[str, Any]:
        """Return what is served of a pin, {} if nothing."""
        served = self.artifacts.served()
        row = int(served.live.rows([pin_id])[0])
        if row < 0:
            return {}
        pin = served.live.pin(row)
        if pin is not None:
            return {"title": pin.title, "is_removed": pin.is_removed, "attributes": pin.attributes}
        (known,) = served.catalogue.known_of(np.array([row], np.int32)).to_pylist()
        return {
            "title": known["title"] or "",
            "is_removed": bool(known["is_deleted"]),
            "attributes": dict(known["attributes"] or ()),
        }

    def boards(self) -> dict[str, set[str]]:
        """Return the pins on each board as imports and exports have them."""
        from candidate_service.imported import open_saves

        context = make_context(self.root, as_of_us=self.now_us + SECOND)
        open_saves(context.engine, self.root, self.now_us + SECOND)
        found: dict[str, set[str]] = {}
        for row in context.engine.read("saves").to_pylist():
            found.setdefault(row["board_id"], set()).add(row["pin_id"])
        context.close()
        return found

    def close(self) -> None:
        """End the process in an orderly way."""
        self.journal.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site with three imported pins on a board."""
    write_pins(tmp_path, [{"pin_id": name, "title": f"Pin {name}"} for name in "abc"])
    write_saves(tmp_path, [("b", "a", NOW_US - 1), ("b", "b", NOW_US - 1)])
    made = Site(tmp_path)
    made.build()
    yield made
    made.close()


def receipt(root: Path, seq: int, time_us: int) -> None:
    """Note an import as the import does."""
    folder = root / "catalogue" / "imports"
    folder.mkdir(parents=True, exist_ok=True)
    told = {"import_id": str(seq), "import_seq": seq, "import_time_us": time_us}
    (folder / f"{seq}.json").write_bytes(orjson.dumps(told))


class TestServing:
    def test_new_pins_get_rows_behind_the_catalogue(self, site: Site) -> None:
        """In the order in which they came; the same again gets none."""
        assert site.pins({"pin_id": "x", "title": "X"}, {"pin_id": "y"}) == [WRITTEN, WRITTEN]
        assert site.pins({"pin_id": "x", "title": "X"}) == [UNCHANGED]

        live = site.artifacts.served().live
        assert live.rows(["a", "x", "nobody", "y"]).tolist() == [0, 3, -1, 4]
        assert live.ids(np.array([4, 0, 3], np.int32)) == ["y", "a", "x"]
        assert live.row_count == 5

    def test_the_last_of_a_request_counts(self, site: Site) -> None:
        """A pin that is named twice is written twice."""
        codes = site.pins({"pin_id": "x", "title": "1"}, {"pin_id": "x", "title": "2"})

        assert codes == [WRITTEN, WRITTEN]
        assert site.known("x")["title"] == "2"

    def test_a_change_of_some_fields_keeps_the_others(self, site: Site) -> None:
        """Of an imported pin as of a live one; a whole change keeps nothing."""
        site.pins({"pin_id": "a", "attributes": {"k": "v"}}, is_whole=False)
        assert site.known("a") == {
            "title": "Pin a",
            "is_removed": False,
            "attributes": {"k": "v"},
        }

        site.pins({"pin_id": "a", "description": "d"})
        assert site.known("a") == {"title": "", "is_removed": False, "attributes": {}}

    def test_unset_creation_time_is_of_the_first_write(self, site: Site) -> None:
        """So that the same request again changes nothing."""
        site.pins({"pin_id": "x"})
        made_us = site.now_us
        assert site.pins({"pin_id": "x"}) == [UNCHANGED]
        site.pins({"pin_id": "x", "title": "new"})

        live = site.artifacts.served().live
        pin = live.pin(3)
        assert pin is not None
        assert pin.creation_time_us == made_us

    def test_deleted_pins_are_marked_at_once_and_come_back_when_written(self, site: Site) -> None:
        """Imported or live; nobody knows what was never there."""
        site.pins({"pin_id": "x"})

        assert site.delete("a", "x", "nobody", "a") == [WRITTEN, WRITTEN, UNKNOWN, UNCHANGED]
        removed = site.artifacts.served().live.removed
        assert removed is not None
        assert removed.tolist() == [True, False, False, True]

        site.pins({"pin_id": "a", "title": "again"})
        assert removed.tolist() == [False, False, False, True]

    def test_hidden_and_expired_pins_are_marked(self, site: Site) -> None:
        """A pin expires when its time has come, unless that was changed."""
        soon = site.now_us + 10 * SECOND
        site.pins({"pin_id": "a", "is_hidden": True}, {"pin_id": "x", "expiration_time_us": soon})
        site.pins({"pin_id": "y", "expiration_time_us": soon})
        site.pins({"pin_id": "y", "expiration_time_us": soon + 9 * SECOND})
        live = site.artifacts.served().live
        assert live.removed is not None
        assert live.removed.tolist() == [True, False, False, False, False]

        site.now_us = soon
        site.journal.follow_others()
        assert live.removed.tolist() == [True, False, False, True, False]

    def test_saves_are_known_by_their_id(self, site: Site) -> None:
        """Imported ones too: the same again changes nothing, and they can be taken back."""
        assert site.saves(("a0", "b", "a"), ("a1", "b", "b"), ("s", "c", "new")) == [
            UNCHANGED,
            UNCHANGED,
            WRITTEN,
        ]
        assert site.saves(("s", "c", "new")) == [UNCHANGED]
        assert site.known("new") == {"title": "", "is_removed": False, "attributes": {}}
        assert site.take_back("a0", "s", "nothing", "a0") == [WRITTEN, WRITTEN, UNKNOWN, UNCHANGED]

    def test_a_vector_must_fit_the_others(self, site: Site) -> None:
        """Vectors are learned here; those of text may come with the first pin that has one."""
        unit = np.array([1, 0], np.float32)
        long = np.array([1, 0, 0], np.float32)
        pins = [
            PinChange("x", {"vector": unit}),
            PinChange("y", {"text_vector": unit}),
            PinChange("z", {"text_vector": long}),
        ]

        outcomes = site.journal.commit(lambda open_: open_.upsert_pins(pins))

        assert [one.code for one in outcomes] == [ItemCode.INVALID, WRITTEN, ItemCode.INVALID]
        faults = [one.fault.reason for one in outcomes if one.fault]
        assert faults == ["VECTORS_ARE_LEARNED", "WRONG_DIMENSION"]

    def test_an_imported_vector_is_compared(self, tmp_path: Path) -> None:
        """The same again changes nothing; a whole record without one takes it away."""
        write_pins(tmp_path, [{"pin_id": "a", "vector": [0.6, 0.8], "creation_time_us": 5}])
        site = Site(tmp_path)
        site.vectors = np.array([[0.6, 0.8]], np.float32)
        site.build()
        same = {"pin_id": "a", "vector": np.array([0.6, 0.8], np.float32), "creation_time_us": 5}

        assert site.pins(same) == [UNCHANGED]
        assert site.pins({**same, "vector": None}) == [WRITTEN]
        assert site.pins({**same, "vector": None}) == [UNCHANGED]
        site.close()

    def test_who_may_only_read_refuses_writes_and_follows(self, site: Site) -> None:
        """A replica on a read-only disk serves what others write."""
        site.pins({"pin_id": "x"})
        blocked = site.root / "blocked"
        blocked.touch()  # a file where the folder should be: nothing can be written below
        reader = LiveJournal(
            JournalSettings(blocked / "live", "", {}, poll_seconds=1, clock_us=lambda: 1)
        )

        with pytest.raises(Unavailable, match="cannot write"):
            reader.commit(lambda open_: open_.upsert_pins([PinChange("y", {})]))
        assert reader.follow_others() == 0
        assert reader.trim({"0": 5}) == 0
        reader.close()


class TestFolding:
    def test_changes_survive_a_restart(self, site: Site) -> None:
        """What was acknowledged is served again by the next process."""
        site.pins({"pin_id": "x", "title": "X"})
        site.delete("a")
        site.close()

        again = Site(site.root, now_us=site.now_us)

        assert again.known("x")["title"] == "X"
        assert again.known("a")["is_removed"]
        again.close()

    def test_changes_are_folded_and_the_segment_begins_anew(self, site: Site) -> None:
        """After the swap the catalogue says what the segment said, rows and all else."""
        site.pins({"pin_id": "x", "title": "X", "image_hash": 2**64 - 1, "quality": 0.25})
        site.pins({"pin_id": "a", "attributes": {"k": "v"}}, is_whole=False)
        site.delete("b")
        site.saves(("s", "c", "x"), ("a0", "c", "a"))

        assert site.export()["pin_count"] == 3
        site.build()

        served = site.artifacts.served()
        assert served.live.unfolded_count == 0
        assert served.catalogue.ids.ids(range(4)) == ["a", "b", "c", "x"]
        assert site.known("a") == {"title": "Pin a", "is_removed": False, "attributes": {"k": "v"}}
        assert site.known("b")["is_removed"]
        (x,) = served.catalogue.known_of(np.array([3], np.int32)).to_pylist()
        assert (x["title"], x["image_hash"], x["quality"]) == ("X", 2**64 - 1, 0.25)
        assert site.boards() == {"b": {"b"}, "c": {"a", "x"}}

    def test_parts_get_what_an_older_artifact_lacks(self, site: Site) -> None:
        """A graph is built after the catalogue: until then its part must have the saves."""
        site.saves(("s", "c", "x"))
        site.export()
        site.build()  # the index of saves that serves at the swap is still the old one

        live = site.artifacts.served().live
        assert (live.change_count, live.unfolded_count) == (1, 0)
        assert live.save("s") is not None

        site.build()
        live = site.artifacts.served().live
        assert live.change_count == 0
        assert live.save("s") is None

    def test_exporting_again_changes_nothing(self, site: Site) -> None:
        """Also when the note of how far it came was lost."""
        site.pins({"pin_id": "x", "title": "X"})
        site.saves(("s", "c", "x"))
        site.export()
        before = site.boards()

        assert site.export()["pin_count"] == 0
        (site.root / "catalogue" / "live" / "exported.json").unlink()
        assert site.export()["pin_count"] == 1

        site.build()
        assert site.boards() == before == {"b": {"a", "b"}, "c": {"x"}}
        assert len(site.artifacts.served().catalogue) == 4

    def test_writes_between_export_and_swap_are_not_lost(self, site: Site) -> None:
        """Each write is in the catalogue or in the segment, whenever it came."""
        site.pins({"pin_id": "before"})
        site.export()
        site.pins({"pin_id": "during"})
        site.build(is_swapped=False)
        site.pins({"pin_id": "after"})
        site.delete("before")
        site.swap()

        live = site.artifacts.served().live
        assert live.rows(["before", "during", "after"]).tolist() == [3, 4, 5]
        assert live.removed is not None
        assert live.removed.tolist() == [False, False, False, True, False, False]

        site.export()
        site.build()
        assert len(site.artifacts.served().catalogue) == 6
        assert site.known("before")["is_removed"]

    def test_what_happens_after_as_of_stays_in_the_segment(self, site: Site) -> None:
        """A job for an earlier time must not make later changes vanish until the next."""
        as_of_us = site.now_us
        site.pins({"pin_id": "later"})
        site.saves(("s", "c", "later"))
        site.export()
        site.now_us, now_us = as_of_us, site.now_us
        site.build()
        site.now_us = now_us

        served = site.artifacts.served()
        assert len(served.catalogue) == 3
        assert served.live.rows(["later"]).tolist() == [3]

    def test_an_import_between_changes_wins_over_the_earlier_one(self, site: Site) -> None:
        """The newest word counts, whether it was imported or written."""
        site.pins({"pin_id": "a", "title": "live, early"})
        site.pins({"pin_id": "b", "title": "live, early"})
        site.now_us += SECOND
        receipt(site.root, 100, site.now_us)
        rows = [{"pin_id": name, "title": "imported", "import_seq": 100} for name in "ab"]
        write_pins(site.root, rows, file="later")
        site.pins({"pin_id": "b", "description": "late"}, is_whole=False)

        site.export()
        site.build()

        assert site.known("a")["title"] == "imported"
        (b,) = site.artifacts.served().catalogue.known_of(np.array([1], np.int32)).to_pylist()
        assert (b["title"], b["description"]) == ("imported", "late")

    def test_a_swap_does_not_bring_back_what_was_imported_over(self, site: Site) -> None:
        """Changes that an artifact may still need are told to its part, not over the catalogue."""
        site.pins({"pin_id": "a", "title": "live"})
        site.export()
        site.build(is_swapped=False)
        receipt(site.root, 100, site.now_us)
        write_pins(site.root, [{"pin_id": "a", "title": "new", "import_seq": 100}], file="later")
        site.build(is_swapped=False)
        positions = {}  # as if another artifact were older than everything
        served = site.artifacts.served()
        opened = site.artifacts
        for live in opened.lives()[:1]:
            live.poll()
        newest = opened.catalogue()
        segment = site.journal.begin("g", newest, positions)

        pin = segment.pin(0)
        assert pin is not None
        assert pin.title == "new"
        assert served.live is not segment

    def test_many_exports_become_one_file(self, site: Site) -> None:
        """A year of hourly exports must not be thousands of files."""
        for at in range(35):
            site.pins({"pin_id": f"x{at % 7}", "title": f"{at}"})
            site.export()

        files = list((site.root / "catalogue" / "pins").glob("live-*.parquet"))
        assert len(files) <= 33
        site.build()
        assert [site.known(f"x{at}")["title"] for at in range(7)] == [
            str(max(n for n in range(35) if n % 7 == at)) for at in range(7)
        ]

    def test_the_log_is_trimmed_when_no_generation_needs_it(self, site: Site) -> None:
        """Three generations are kept for roll-back; older changes go."""
        site.pins({"pin_id": "x", "description": "d" * 1000})
        for at in range(4):
            site.pins({"pin_id": f"y{at}"})
            site.export()
            site.build()
        folder = site.root / live_journal.FOLDER / site.journal.log_name
        kept = sum(path.stat().st_size for path in folder.glob("*.log"))

        assert kept < 1000
        assert site.pins({"pin_id": "z"}) == [WRITTEN]
        assert site.known("x")

    def test_what_nobody_can_read_is_left_out_and_told(self, site: Site) -> None:
        """A record of a newer version, and a damaged stretch: the rest is read and exported."""
        site.pins({"pin_id": "x"})
        site.close()
        folder = site.root / live_journal.FOLDER / "0"
        with EventLog(folder) as log:
            log.append([b'{"t":1,"new":"kind"}'])
        again = Site(site.root, now_us=site.now_us)
        again.pins({"pin_id": "damaged"})
        again.pins({"pin_id": "y"})
        again.close()
        for path in folder.glob("*.log"):
            path.write_bytes(path.read_bytes().replace(b'"damaged"', b'"DAMAGED"'))

        third = Site(site.root, now_us=again.now_us)

        told = third.journal.counts.unreadable_count
        third.journal.follow_others()
        assert third.journal.counts.unreadable_count == told >= 1
        assert [bool(third.known(name)) for name in ("x", "damaged", "y")] == [True, False, True]
        assert third.export()["unreadable_count"] == 1
        third.build()
        assert len(third.artifacts.served().catalogue) == 5
        third.close()

    def test_a_lost_log_goes_on_behind_what_was_exported(self, site: Site) -> None:
        """New changes must not hide behind the position of old ones."""
        site.pins({"pin_id": "x", "description": "d" * 1000})
        site.export()
        site.build()
        site.close()
        for path in (site.root / live_journal.FOLDER / "0").glob("*.log"):
            path.unlink()

        again = Site(site.root, now_us=site.now_us)
        again.pins({"pin_id": "y"})
        again.close()
        third = Site(site.root, now_us=again.now_us)
        assert third.known("y")
        third.export()
        third.build()
        assert len(third.artifacts.served().catalogue) == 5
        third.close()


class TestReplicas:
    def test_each_sees_what_the_other_wrote(self, site: Site) -> None:
        """The second process takes the next free log and follows the first."""
        other = Site(site.root, now_us=site.now_us)
        assert (site.journal.log_name, other.journal.log_name) == ("0", "1")

        site.pins({"pin_id": "x", "title": "of the first"})
        other.journal.follow_others()
        assert other.known("x")["title"] == "of the first"
        assert other.pins({"pin_id": "x", "title": "of the first"}) == [UNCHANGED]

        other.now_us = site.now_us + SECOND
        other.pins({"pin_id": "x", "title": "of the second"})
        site.journal.follow_others()
        assert site.known("x")["title"] == "of the second"
        other.close()

    def test_the_newest_wins_in_any_order_of_reading(self, site: Site) -> None:
        """Two change the same pin before they hear of each other: both end with the same."""
        other = Site(site.root, now_us=site.now_us + SECOND // 2)
        site.pins({"pin_id": "x", "title": "first"})
        other.pins({"pin_id": "x", "title": "second"})
        site.pins({"pin_id": "x", "description": "third"}, is_whole=False)
        site.journal.follow_others()
        other.journal.follow_others()

        for one in (site, other):
            live = one.artifacts.served().live
            pin = live.pin(3)
            assert pin is not None
            assert (pin.title, pin.description) == ("second", "third")
        site.export()
        site.now_us += SECOND
        site.build()
        (x,) = site.artifacts.served().catalogue.known_of(np.array([3], np.int32)).to_pylist()
        assert (x["title"], x["description"]) == ("second", "third")
        other.close()

    def test_a_dead_replicas_log_is_exported_and_trimmed(self, site: Site) -> None:
        """A replica that never comes back loses nothing and leaves nothing."""
        other = Site(site.root, now_us=site.now_us)
        other.pins({"pin_id": "x", "description": "d" * 1000})
        other.close()
        site.journal.follow_others()
        assert site.known("x")

        for _ in range(4):
            site.now_us += 10 * SECOND
            site.export()
            site.build()

        assert len(site.artifacts.served().catalogue) == 4
        assert list(site.artifacts.served().live.changed_rows()) == []
        folder = site.root / live_journal.FOLDER / "1"
        assert sum(path.stat().st_size for path in folder.glob("*.log")) == 0
        assert end_position(folder) > 1000


class TestErasure:
    def test_a_users_name_goes_and_the_unnamed_board(self, site: Site) -> None:
        """Saves on named boards stay, without the user."""
        site.saves(("s1", "b", "c"), ("s2", "user:ann", "a"), user="ann")
        site.saves(("s3", "b", "c"), user="ben")
        site.export()
        site.saves(("s4", "d", "a"), user="ann")

        site.now_us += SECOND
        site.journal.commit(lambda open_: open_.erase_user("ann"))

        live = site.artifacts.served().live
        kept = {save.save_id: save for save in live.saves()}
        assert [kept[name].user_id for name in ("s1", "s2", "s3", "s4")] == ["", "", "ben", ""]
        assert [name for name in kept if kept[name].is_removed] == ["s2"]

        assert site.export()["erased_save_count"] == 3
        assert site.boards() == {"b": {"a", "b", "c"}, "d": {"a"}}
        files = (site.root / "catalogue" / "saves").glob("*.parquet")
        users = {user for file in files for user in pq.read_table(file)["user_id"].to_pylist()}
        assert users == {None, "ben"}

    def test_a_folded_unnamed_board_goes(self, site: Site) -> None:
        """Also where the saves are known from the generation only."""
        site.saves(("s2", "user:ann", "a"), ("s3", "user:ann", "b"), user="ann")
        site.export()
        site.build()

        site.now_us += SECOND
        site.journal.commit(lambda open_: open_.erase_user("ann"))

        saves = site.artifacts.served().live.saves()
        gone = {(one.save_id, one.board_id, one.pin_row) for one in saves if one.is_removed}
        assert gone == {("s2", "user:ann", 0), ("s3", "user:ann", 1)}
        assert site.take_back("s2") == [UNCHANGED]


def test_a_site_without_a_catalogue_takes_writes(tmp_path: Path) -> None:
    """A new installation is filled through the service alone."""
    site = Site(tmp_path)
    with pytest.raises(NotReady):
        site.artifacts.served()
    unit = np.array([1, 0], np.float32)
    assert site.pins({"pin_id": "x", "title": "X", "vector": unit}) == [WRITTEN]
    site.saves(("s", "b", "y"))

    site.export()
    site.build()

    assert site.known("x")["title"] == "X"
    assert site.artifacts.served().catalogue.dimensions == {"vector": 2}
    assert len(site.artifacts.served().catalogue) == 2
    site.close()


def test_segments_are_of_the_viewers_world(site: Site) -> None:
    """The empty segment of a fresh catalogue has no live rows."""
    live = site.artifacts.served().live
    names: Sequence[str] = ["a"]

    assert Segment() == Segment("", "")
    assert live.rows(names).tolist() == [0]
    assert live.removed is None
