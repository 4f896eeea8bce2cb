"""A start waits for kernels that are compiled, not for a source that hangs."""

from __future__ import annotations

import time
from threading import Event
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from candidate_service import server
from candidate_service.artifacts import Artifacts
from candidate_service.retrieval import Status
from candidate_service.server import warm_up
from tests.candidate_service.test_retrieval import PIN_COUNT, FakeSource, ask, asking, enable

THREADS = 4


class FakeArtifacts:
    """Of a catalogue that says nothing but the language of its pins."""

    def catalogue(self) -> Any:
        """Return itself."""
        return self

    def __len__(self) -> int:
        return PIN_COUNT

    def known_of(self, rows: NDArray[np.int32]) -> pa.Table:
        """Return languages."""
        return pa.table({"language": ["en"] * len(rows)})


def test_every_source_is_asked_from_every_thread() -> None:
    """With and without a language, whose walks have kernels of their own; once before alone."""
    source = FakeSource()
    with asking(enable(source)) as retrieval:
        warm_up(cast(Artifacts, FakeArtifacts()), retrieval, thread_count=THREADS)

    assert len(source.asked) == 1 + 2 * THREADS


def test_a_source_that_hangs_does_not_hold_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once, keeps one thread only, is late for as long, and is back when it answers."""
    monkeypatch.setattr(server, "WARM_UP_S", 0.5)
    gate = Event()
    hanging, good = FakeSource("hanging", gate=gate), FakeSource("good")
    with asking(enable(hanging), enable(good), stuck_count_max=1) as retrieval:
        started = time.monotonic()
        warm_up(cast(Artifacts, FakeArtifacts()), retrieval, thread_count=THREADS)
        took = time.monotonic() - started
        meanwhile = ask(retrieval)
        gate.set()
        while ask(retrieval)["hanging"].status != Status.OK:
            time.sleep(0.01)

    assert took < 10
    assert len(good.asked) >= 1 + 2 * THREADS
    assert meanwhile["hanging"].status == Status.LATE
    assert meanwhile["hanging"].reason == "earlier calls have not come back yet"
    assert meanwhile["good"].status == Status.OK
