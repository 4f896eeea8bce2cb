"""Every so-many-th question is sampled; its mean is told."""

from __future__ import annotations

from threading import Event

from candidate_service.recall_meter import RecallMeter


def test_samples_one_in_so_many() -> None:
    """The first question and then each tenth; none when told so."""
    meter, idle = RecallMeter(10), RecallMeter(0)

    assert [at for at in range(35) if meter.wants_next()] == [0, 10, 20, 30]
    assert not any(idle.wants_next() for _ in range(20))
    assert meter.recall() is None


def test_tells_the_mean_and_survives_a_broken_sample() -> None:
    """What is sampled is told one by one; a check that fails is left out."""
    told: list[float] = []
    done = Event()
    meter = RecallMeter(1, on_sample=lambda recall: (told.append(recall), done.set())[0])
    for recall in (1.0, None, 0.5):
        done.clear()
        if recall is None:
            meter.offer(lambda: 1 / 0)
            done.set()
        else:
            while not done.is_set():  # the broken check may still hold the place
                meter.offer(lambda recall=recall: recall)
                done.wait(0.01)

    assert told[0] == 1.0
    assert 0.5 in told
    assert 0.5 <= (meter.recall() or 0.0) < 1.0


def test_does_not_wait() -> None:
    """While one sample is at work and one waits, further ones are dropped at once."""
    gate, started = Event(), Event()
    counted: list[int] = []
    meter = RecallMeter(1)

    def slow() -> float:
        started.set()
        gate.wait(30)
        return 1.0

    meter.offer(slow)
    started.wait(30)
    for number in range(50):
        meter.offer(lambda number=number: counted.append(number) or 1.0)  # type: ignore[func-returns-value]
    gate.set()
    while not counted:
        pass

    assert counted == [0]
