"""Logs of candidate processes that have ended go, and nothing that was acknowledged with them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from candidate_service.live import journal as live_journal
from candidate_service.live.erasure import Erasures
from candidate_service.live.exported import exported_positions, positions_before
from candidate_service.live.records import unnamed_board
from service_runtime.ended_logs import ENDED_SECONDS
from service_runtime.log_folders import log_folders
from tests.candidate_service.live.test_folding import SECOND, WRITTEN, Site
from tests.candidate_service.world import write_pins


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Three imported pins, served by a pod that lives on."""
    write_pins(tmp_path, [{"pin_id": name} for name in "abc"])
    made = Site(tmp_path, "pod-stays")
    made.build()
    yield made
    made.close()


def names(site: Site) -> list[str]:
    """Return the names of the live logs."""
    return [folder.name for folder in log_folders(site.root / live_journal.FOLDER)]


def age(site: Site, name: str) -> None:
    """Make a log, if it is there, look as if nobody had written to it for long."""
    long_ago = site.now_us / 1e6 - ENDED_SECONDS - 60
    folder = site.root / live_journal.FOLDER / name
    for path in [*folder.glob("*.log"), *folder.parent.glob(name)]:
        os.utime(path, (long_ago, long_ago))


def other(site: Site, name: str) -> Site:
    """Start another pod on the same data root."""
    site.now_us += SECOND
    return Site(site.root, name, now_us=site.now_us)


def night(site: Site) -> None:
    """Export and build, and swap the new catalogue in, which trims."""
    site.export()
    site.build()


def test_the_log_of_a_pod_that_is_gone_goes_when_every_kept_generation_has_it(site: Site) -> None:
    """Not before: a roll-back needs its records. What it wrote is served on."""
    pod = other(site, "pod-ends")
    pod.pins({"pin_id": "x", "title": "X"})
    pod.close()
    site.now_us = pod.now_us
    seen = []
    for _ in range(4):
        night(site)
        seen.append("pod-ends" in names(site))
        if seen[-1]:
            age(site, "pod-ends")
        assert site.known("x")["title"] == "X"

    assert seen == [True, True, True, False]
    assert names(site) == ["pod-stays"]


def test_a_pod_that_never_wrote_leaves_nothing(site: Site) -> None:
    """Most pods only read; their logs are in no generation's positions."""
    other(site, "pod-reads").close()
    night(site)
    assert "pod-reads" in names(site)

    age(site, "pod-reads")
    night(site)

    assert names(site) == ["pod-stays"]


def test_the_log_of_a_pod_that_lives_stays(site: Site) -> None:
    """Silent for however long; it writes on and is followed."""
    pod = other(site, "pod-silent")
    pod.pins({"pin_id": "x"})
    site.now_us = pod.now_us
    for _ in range(5):
        night(site)
        age(site, "pod-silent")
    assert "pod-silent" in names(site)

    pod.swap()
    pod.now_us = site.now_us
    assert pod.pins({"pin_id": "y", "title": "Y"}) == [WRITTEN]
    site.journal.follow_others()

    assert site.known("y")["title"] == "Y"
    pod.close()


def test_a_pod_comes_back_under_the_name_of_a_log_that_went(site: Site) -> None:
    """Who followed the old log follows the new one; it is exported and folded as any other."""
    pod = other(site, "pod-0")
    pod.pins({"pin_id": "x", "description": "d" * 10_000})
    pod.close()
    site.now_us = pod.now_us
    reader = other(site, "pod-reader")
    while "pod-0" in names(site):
        night(site)
        reader.swap()
        age(site, "pod-0")

    again = other(site, "pod-0")
    again.pins({"pin_id": "y", "title": "Y"})
    site.now_us = again.now_us
    for one in (site, reader):
        one.journal.follow_others()
        assert one.known("y")["title"] == "Y"
    night(site)
    assert site.known("y")["title"] == "Y"
    assert "pod-0" in exported_positions(site.root)
    reader.close()
    again.close()


def test_a_log_that_went_is_left_out_of_exports(site: Site) -> None:
    """Names of pods do not pile up in positions, which every generation carries."""
    for number in range(3):
        pod = other(site, f"pod-{number}")
        pod.pins({"pin_id": f"x{number}"})
        pod.close()
        site.now_us = pod.now_us
    for _ in range(5):
        night(site)
        for name in set(names(site)) - {"pod-stays"}:
            age(site, name)
    night(site)

    assert set(exported_positions(site.root)) <= {"pod-stays"}
    assert set(positions_before(site.root, site.now_us)) <= {"pod-stays"}


def test_an_export_after_a_log_went_overwrites_no_earlier_one(site: Site) -> None:
    """Without the log that went, positions are what they were once before."""
    site.pins({"pin_id": "first"})
    site.export()  # ends at positions that are to come again
    pod = other(site, "pod-ends")
    pod.pins({"pin_id": "second", "title": "Two"})
    pod.close()
    site.now_us = pod.now_us
    while "pod-ends" in names(site):
        night(site)
        age(site, "pod-ends")
    site.export()
    site.pins({"pin_id": "third"})
    night(site)

    fresh = Site(site.root, "pod-new", now_us=site.now_us)
    assert [bool(fresh.known(name)) for name in ("first", "second", "third")] == [True] * 3
    assert fresh.known("second")["title"] == "Two"
    fresh.close()


def test_an_erasure_holds_after_its_log_went(site: Site) -> None:
    """The files were rewritten when it was exported, and the boards are built from them."""
    site.saves(("s1", unnamed_board("ann"), "a"), ("s2", "board", "b"), user="ann")
    pod = other(site, "pod-ends")
    pod.journal.follow_others()
    pod.journal.commit(lambda open_: open_.erase_user("ann"))
    pod.close()
    site.now_us = pod.now_us + SECOND
    site.journal.follow_others()
    while "pod-ends" in names(site):
        night(site)
        age(site, "pod-ends")
    night(site)

    told = Erasures(site.journal, site.root).stores("ann")
    stores = {one.store: one.record_count for one in told}

    assert stores["live_segment"] == stores["imported_saves"] == 0
    assert stores["live_log"] == stores["generations"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_pods_come_and_go_and_every_change_is_served(site: Site, seed: int) -> None:
    """
    Pods of three names start, write, end and come back while nights go by.

    After every step the pod that stays serves what was acknowledged last, and so does, at the end,
    one that begins from what is on disk.
    """
    dice = random.Random(seed)
    pods: dict[str, Site] = {}
    titles: dict[str, str] = {}
    went = 0
    for step in range(40):
        name = dice.choice(["pod-a", "pod-b", "pod-c"])
        act = dice.choice(["write", "end", "night", "night"])
        if act == "night":
            before = set(names(site))
            night(site)
            went += len(before - set(names(site)))
            for pod in pods.values():
                pod.swap()
        elif name not in pods:
            pods[name] = other(site, name)
        elif act == "end":
            pods.pop(name).close()
            age(site, name)
        else:
            site.now_us += SECOND
            pods[name].now_us = site.now_us
            pin = f"pin-{dice.randrange(6)}"
            titles[pin] = str(step)
            pods[name].pins({"pin_id": pin, "title": titles[pin]})
            site.now_us = pods[name].now_us
        site.journal.follow_others()
        assert {pin: site.known(pin)["title"] for pin in titles} == titles
    for pod in pods.values():
        pod.close()
    fresh = Site(site.root, "pod-fresh", now_us=site.now_us)

    assert {pin: fresh.known(pin)["title"] for pin in titles} == titles
    assert went > 0
    fresh.close()
