"""The live counters: all processes count alike, also after a restart; what is forgotten stays."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ranking_service.answer import Answer, RankedPin
from ranking_service.config import RankingConfig
from ranking_service.memboost.keeper import KEPT_SECONDS, MemboostKeeper
from ranking_service.memboost.records import ShownList
from ranking_service.memboost.resets import RecordedReset
from ranking_service.pin_keys import key_of, keys_of
from ranking_service.profile import RecentActions
from ranking_service.query import Surface
from service_runtime.ended_logs import ENDED_SECONDS
from service_runtime.generation_store import GenerationStore
from service_runtime.log_folders import log_folders
from service_runtime.telemetry import Metrics
from tests.ranking_service.worlds import NOW

ANSWER = Answer(
    list_id="l1",
    request_id="r",
    user_id="ann",
    surface=Surface.RELATED_PINS,
    query_pin_id="q",
    pins=tuple(RankedPin(pin, 0.5, (), "", 1.0) for pin in ("a", "b", "c")),
    missing=(),
    is_cold_start=False,
    profile_age=None,
    generations={},
    model="hand_tuned",
    candidate_count=3,
    platform="ios",
)


def keeper(root: Path, name: str = "main", **settings: Any) -> MemboostKeeper:
    """A keeper of one process, not started: it counts when it is told to."""
    config = RankingConfig(impression_log_name=name, memboost_refresh_seconds=0.05, **settings)
    made = MemboostKeeper(
        GenerationStore(root / "generations"),
        root / "live",
        config,
        Metrics(f"ranking_{name}"),
        lambda: NOW + 60,
    )
    made.start()
    return made


def saves(*pins: str, at: float = NOW + 5) -> RecentActions:
    """Saves, newest first."""
    return RecentActions(pins, ("save",) * len(pins), np.full(len(pins), at))


def counts(kept: MemboostKeeper, *pins: str) -> Any:
    """Impressions and weighted actions of pins under the query pin."""
    found = kept.current().counts(key_of("q"), keys_of(pins))
    return found.impressions.tolist(), found.actions.tolist()


def test_impressions_and_actions_of_the_day_count(tmp_path: Path) -> None:
    """An answer and what its reader did next, told twice, count once each."""
    kept = keeper(tmp_path)

    kept.note_shown(ANSWER, NOW)
    kept.note_acts("ann", saves("b"))
    kept.note_acts("ann", saves("b"))
    kept.note_acts("bob", saves("a"))
    kept.note_acts("ann", replace(saves("c"), kinds=("like",)))
    kept.flush()

    assert counts(kept, "a", "b", "c", "d") == ([1, 1, 1, 0], [0, 1, 0, 0])
    (counter,) = kept.current().counters(key_of("q"), key_of("b"))
    assert (counter.platform, counter.position, counter.impression_count) == ("ios", 1, 1)
    assert counter.action_counts["save"] == 1
    kept.close()


def test_processes_count_alike_and_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """Shown by one process, acted upon at another, read by a third."""
    one, two = keeper(tmp_path, "one"), keeper(tmp_path, "two")
    one.note_shown(ANSWER, NOW)
    two.note_acts("ann", saves("a"))
    one.flush()
    two.flush()
    one.refresh()

    assert counts(one, "a", "b") == counts(two, "a", "b") == ([1, 1], [1, 0])
    one.close()
    two.close()
    again = keeper(tmp_path, "one")
    assert counts(again, "a", "b") == ([1, 1], [1, 0])
    again.close()


def test_a_confirmed_list_counts_instead_of_the_answered_one(tmp_path: Path) -> None:
    """What the client drew, where it drew it; the rest is known from the answer."""
    kept = keeper(tmp_path)
    kept.note_shown(ANSWER, NOW)
    kept.note_confirmed(
        ShownList(key_of("l1"), 0, 0, "", round(NOW * 1e6), keys_of(["c"]), positions=[7])
    )
    kept.note_acts("ann", saves("c", "a"))
    kept.flush()

    assert counts(kept, "a", "b", "c") == ([0, 0, 1], [0, 0, 1])
    (counter,) = kept.current().counters(key_of("q"), key_of("c"))
    assert (counter.platform, counter.position) == ("ios", 7)
    kept.close()


def test_a_reset_holds_now_and_after_a_restart(tmp_path: Path) -> None:
    """What is shown afterwards counts anew."""
    kept = keeper(tmp_path)
    kept.note_shown(ANSWER, NOW)
    kept.note_acts("ann", saves("a", "b"))
    kept.flush()
    reset = RecordedReset("id", "q", "a", 0, round((NOW + 50) * 1e6), 0, "spam")

    changed = kept.reset(reset)
    kept.note_shown(replace(ANSWER, list_id="l2"), NOW + 55)
    kept.flush()

    assert changed == 1
    assert counts(kept, "a", "b") == ([1, 2], [0, 1])
    kept.close()
    again = keeper(tmp_path)
    assert counts(again, "a", "b") == ([1, 2], [0, 1])
    again.close()


def test_an_erased_user_leaves_the_live_counters(tmp_path: Path) -> None:
    """At once, for good, and without harm to others."""
    kept = keeper(tmp_path)
    kept.note_shown(ANSWER, NOW)
    kept.note_shown(replace(ANSWER, list_id="l2", user_id="bob"), NOW)
    kept.note_acts("ann", saves("a"))
    kept.flush()
    assert kept.knows_user("ann") == 4

    kept.forget_user("ann")

    assert kept.knows_user("ann") == 0
    assert counts(kept, "a", "b") == ([1, 1], [0, 0])
    kept.close()
    again = keeper(tmp_path)
    assert again.knows_user("ann") == 0
    assert again.knows_user("bob") == 3
    again.close()


def test_old_records_are_cut_from_the_log(tmp_path: Path) -> None:
    """Two days later the log has given its old segments back, and counts nothing of them."""
    now = [NOW]
    config = RankingConfig(impression_log_name="main", memboost_refresh_seconds=3600)
    kept = MemboostKeeper(
        GenerationStore(tmp_path / "generations"),
        tmp_path / "live",
        config,
        Metrics("ranking_cut"),
        lambda: now[0],
    )
    kept.start()
    kept.note_shown(ANSWER, NOW)
    kept.flush()
    kept._own.roll()
    now[0] = NOW + 7200
    kept.note_shown(replace(ANSWER, list_id="l2"), NOW + 7200)
    kept.flush()
    size = sum(path.stat().st_size for path in (tmp_path / "live/memboost/main").glob("*.log"))

    now[0] = NOW + 2 * 86_400 + 7201 + 3600
    kept.note_shown(replace(ANSWER, list_id="l3"), now[0])
    kept.flush()

    left = sum(path.stat().st_size for path in (tmp_path / "live/memboost/main").glob("*.log"))
    assert left < size + size / 2
    assert counts(kept, "a")[0] == [1]
    kept.close()


def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path: Path) -> None:
    """Answers go on whatever becomes of the counters."""
    kept = keeper(tmp_path, impression_queue_count_max=1)

    for _ in range(2000):
        kept.note_shown(ANSWER, NOW)
    kept.flush()

    assert counts(kept, "a")[0] == [1]
    kept.close()


def age(folder: Path, seconds: float = ENDED_SECONDS + 60) -> None:
    """Make a log look as if nobody had written to it for so long before the keeper's clock."""
    for path in [*folder.glob("*.log"), folder]:
        os.utime(path, (NOW + 60 - seconds, NOW + 60 - seconds))


def look(kept: MemboostKeeper) -> None:
    """Let an hour pass for a keeper: it looks for logs of processes that have ended."""
    kept._marks.clear()
    kept.refresh()


def test_logs_are_kept_for_longer_than_they_count() -> None:
    """An erasure in a log that goes must concern nothing that still counts."""
    assert ENDED_SECONDS >= KEPT_SECONDS + 86_400


def test_the_log_of_a_process_that_is_gone_goes(tmp_path: Path) -> None:
    """Not one that was written lately, nor one whose process lives; a name may come back."""
    reader = keeper(tmp_path, "reader")
    for name in ("gone", "lately"):
        other = keeper(tmp_path, name)
        other.note_shown(replace(ANSWER, list_id=name), NOW)
        other.flush()
        other.close()
    silent = keeper(tmp_path, "silent")
    for name in ("gone", "silent"):
        age(tmp_path / "live" / "memboost" / name)
    age(tmp_path / "live" / "memboost" / "lately", ENDED_SECONDS - 60)

    look(reader)

    assert _names(tmp_path, "memboost") == ["lately", "reader", "silent"]
    again = keeper(tmp_path, "gone")
    again.note_shown(replace(ANSWER, list_id="again"), NOW)
    again.flush()
    silent.note_shown(replace(ANSWER, list_id="silent"), NOW)
    silent.flush()
    reader.refresh()
    assert counts(reader, "a")[0] == [4]
    for one in (reader, again, silent):
        one.close()


def test_resets_of_processes_that_are_gone_hold(tmp_path: Path) -> None:
    """They are gathered in one log, which every process reads, also a new one."""
    kept = keeper(tmp_path, "kept")
    kept.note_shown(ANSWER, NOW)
    kept.flush()
    for number, pin in enumerate("ab"):
        other = keeper(tmp_path, f"gone-{number}")
        other.reset(RecordedReset(pin, "q", pin, 0, round((NOW + 50) * 1e6), 0, "spam"))
        other.close()
        age(tmp_path / "live" / "memboost_resets" / f"gone-{number}")
    kept.refresh()
    assert counts(kept, "a", "b", "c")[0] == [0, 0, 1]

    look(kept)

    assert _names(tmp_path, "memboost_resets") == ["_ended", "kept"]
    assert counts(kept, "a", "b", "c")[0] == [0, 0, 1]
    fresh = keeper(tmp_path, "fresh")
    assert counts(fresh, "a", "b", "c")[0] == [0, 0, 1]
    fresh.close()
    kept.close()


def _names(root: Path, kind: str) -> list[str]:
    return [folder.name for folder in log_folders(root / "live" / kind)]
