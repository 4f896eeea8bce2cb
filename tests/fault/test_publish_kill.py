"""kill -9 of who publishes and of who follows: what is current is whole, and never goes back."""

import time
from pathlib import Path

import pytest

from service_runtime.generation_folders import KEPT_COUNT
from service_runtime.generations import GenerationStore, Live
from tests.fault.numbered import ARTIFACT, FORMAT_VERSION, open_number, publish
from tests.fault.nursery import Nursling, start_module
from tests.fault.rounds import kill_rounds, log_seed

ROUNDS = kill_rounds(8)
SECONDS_MAX = 0.08
"""Longest life of a victim: several generations are published in it."""


@pytest.mark.timeout(900)
def test_publisher_and_followers_can_be_killed_at_any_moment(tmp_path: Path) -> None:
    """
    Again and again a publisher lives for some milliseconds, while another process follows it.

    After each kill the current generation is whole and as new as any that was acknowledged, the
    follower has only ever gone forward, and a new follower begins where the old one was or later.
    In the end no draft is left and no more generations than are kept.
    """
    dice = log_seed("kill -9 of publishers")
    store = GenerationStore(tmp_path)
    publish(store, 0)
    watched = Live(store, ARTIFACT, FORMAT_VERSION, open_number)
    acknowledged = served = 0
    for _ in range(ROUNDS):
        follower = start_module("tests.fault.numbered", ["follow", str(tmp_path)])
        begun = int(follower.line())
        publisher = start_module(
            "tests.fault.numbered", ["publish", str(tmp_path), str(watched.get() + 1)]
        )
        said = [int(publisher.line())]  # it is at work
        time.sleep(SECONDS_MAX * dice.random())
        said += killed(publisher)
        followed = [begun, *killed(follower)]
        watched.poll()

        assert begun >= served
        assert followed == sorted(set(followed))
        assert said == list(range(said[0], said[-1] + 1))
        assert watched.get() in (said[-1], said[-1] + 1)
        assert watched.get() >= followed[-1]
        acknowledged, served = said[-1], max(served, followed[-1])
    publish(store, watched.get() + 1)

    assert acknowledged >= ROUNDS
    assert watched.refused_count == 0
    assert len(store.generations(ARTIFACT)) == KEPT_COUNT
    left = {path.name for path in (tmp_path / ARTIFACT).iterdir()}
    assert left == {*store.generations(ARTIFACT), "CURRENT", ".lock"}


def killed(victim: Nursling) -> list[int]:
    """Kill a process; returns the numbers that it had said and nobody had read."""
    return [int(line) for line in victim.kill_and_read() if line]
