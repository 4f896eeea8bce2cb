"""Work that repeats."""

import threading

import pytest

from service_runtime.periodic import Periodic


def test_work_repeats_despite_a_failure_and_is_done_once_more_at_the_end() -> None:
    """A turn that fails does not end the turns; the last one comes with stop."""
    turns: list[int] = []
    third = threading.Event()

    def work() -> None:
        turns.append(len(turns))
        if len(turns) == 1:
            raise OSError("disk full")
        if len(turns) == 3:
            third.set()

    periodic = Periodic("test", work, every_seconds=0.001)
    periodic.start()
    assert third.wait(30)
    before = len(turns)
    periodic.stop()

    assert len(turns) > before


@pytest.mark.parametrize("is_started", [True, False])
def test_never_means_never(is_started: bool) -> None:  # noqa: FBT001
    """With 0 seconds nothing is done, not even at the end."""
    turns: list[int] = []
    periodic = Periodic("test", lambda: turns.append(1), every_seconds=0)
    if is_started:
        periodic.start()
    periodic.stop()

    assert turns == []
