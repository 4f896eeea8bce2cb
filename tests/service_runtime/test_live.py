"""A live artifact follows good generations and refuses bad ones, while it is read."""

import errno
import os
import resource
import threading
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service_runtime.errors import Corrupted, NotReady
from service_runtime.generations import Generation, GenerationStore, GenerationWatcher, Live


def publish(store: GenerationStore, text: str, *, version: int = 1) -> Generation:
    """Publish a generation of one file."""
    with store.draft("thing", format_version=version) as draft:
        draft.path("a.txt").write_text(text)
        return draft.publish(as_of_us=0)


def read(generation: Generation) -> str:
    """Open the artifact: its one file's text."""
    return generation.file("a.txt").read_text()


@pytest.fixture
def store(tmp_path: Path) -> GenerationStore:
    """An empty store."""
    return GenerationStore(tmp_path)


def test_nothing_built_is_not_ready_until_it_is(store: GenerationStore) -> None:
    """Before the first generation `get` says what to do; the next poll after it finds it."""
    live = Live(store, "thing", 1, read)

    with pytest.raises(NotReady, match="no usable generation"):
        live.get()
    with pytest.raises(NotReady):
        _ = live.generation
    assert live.snapshot() is None

    published = publish(store, "one")

    assert live.poll()
    assert live.get() == "one"
    assert live.generation == published


def test_a_new_generation_is_swapped_in(store: GenerationStore) -> None:
    """A poll after a publish changes the value, and tells; a poll without one does nothing."""
    publish(store, "one")
    told: list[str] = []
    live = Live(store, "thing", 1, read, on_swap=lambda _generation, text: told.append(text))

    publish(store, "two")

    assert live.get() == "one"
    assert live.poll()
    assert not live.poll()
    assert live.get() == "two"
    assert told == ["one", "two"]
    assert live.swap_count == 2


def test_a_bad_generation_is_refused_once_and_the_old_one_serves(store: GenerationStore) -> None:
    """Damage found at the swap: logged and counted once, not tried again; a later good one wins."""
    publish(store, "one")
    refused: list[str] = []
    live = Live(store, "thing", 1, read, on_refused=lambda name, _why: refused.append(name))
    bad = publish(store, "two")
    (bad.path / "a.txt").write_text("evil")

    assert [live.poll() for _ in range(3)] == [False, False, False]
    assert live.get() == "one"
    assert live.refused_count == 1
    assert refused == [bad.id]

    publish(store, "three")

    assert live.poll()
    assert live.get() == "three"


def test_a_bad_generation_at_the_start_gives_way_to_the_one_before(store: GenerationStore) -> None:
    """A start on damage serves the previous generation."""
    publish(store, "one")
    (publish(store, "two").path / "a.txt").unlink()

    live = Live(store, "thing", 1, read)

    assert live.get() == "one"
    assert live.refused_count == 1
    assert not live.poll()


def test_a_reader_that_fails_refuses_the_generation(store: GenerationStore) -> None:
    """Whatever a reader raises on files that are whole but wrong, the old value stays."""

    def number(generation: Generation) -> int:
        return int(read(generation))

    publish(store, "1")
    live = Live(store, "thing", 1, number)
    publish(store, "not a number")

    assert not live.poll()
    assert live.get() == 1
    assert live.refused_count == 1


def test_what_is_current_and_refused_is_told_as_long_as_it_is(store: GenerationStore) -> None:
    """Also where it was so from the start; over when something good is current."""
    publish(store, "one")
    bad = publish(store, "two")
    (bad.path / "a.txt").write_text("evil")
    current = store.root / "thing" / "CURRENT"

    live = Live(store, "thing", 1, read)
    told = [live.refuses_current]
    for content in ("\xff", bad.id, "20990101T000000000000-dead"):
        current.write_text(content, encoding="latin-1")
        live.poll()
        told.append(live.refuses_current)
    publish(store, "three")
    live.poll()

    assert told == [True] * 4
    assert not live.refuses_current
    assert live.get() == "three"


class Faulty:
    """A reader of which some tries fail as a machine in trouble does."""

    def __init__(self, fault: Exception, *, failing: int, text: str) -> None:
        self.fault, self.failing, self.text = fault, failing, text

    def __call__(self, generation: Generation) -> str:
        """Read, or fail, as long as it is to."""
        text = read(generation)
        if text == self.text and self.failing:
            self.failing -= 1
            raise self.fault
        return text


def wrapped(fault: Exception) -> Corrupted:
    """As our readers tell what they could not read."""
    error = Corrupted("two cannot be read")
    error.__cause__ = fault
    return error


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.EIO, "input/output error"),
        OSError(errno.EMFILE, "too many open files"),
        OSError(errno.ESTALE, "stale file handle"),
        MemoryError(),
        wrapped(OSError(errno.EIO, "input/output error")),
    ],
    ids=repr,
)
def test_what_the_machine_could_not_read_is_tried_again(
    store: GenerationStore, fault: Exception
) -> None:
    """A good generation is not refused for a moment's trouble; that is counted, and told once."""
    publish(store, "one")
    live = Live(store, "thing", 1, Faulty(fault, failing=3, text="two"))
    publish(store, "two")

    with capture_logs() as lines:
        polls = [live.poll() for _ in range(12)]

    assert live.get() == "two"
    assert polls.count(True) == 1
    assert (live.open_failure_count, live.refused_count) == (3, 0)
    assert not live.refuses_current
    assert [line["event"] for line in lines if line["log_level"] == "error"] == [
        "generation.open_failed"
    ]


def test_tries_become_rarer(store: GenerationStore) -> None:
    """Each reads every byte of it, so a disk that stays broken is not read all the time."""
    publish(store, "one")
    live = Live(store, "thing", 1, Faulty(OSError(errno.EIO, "x"), failing=999, text="two"))
    publish(store, "two")

    for _ in range(100):
        live.poll()

    assert live.get() == "one"
    assert 5 <= live.open_failure_count <= 12


def test_start_in_a_bad_moment_serves_the_newest(store: GenerationStore) -> None:
    """A few tries are made before the start goes on; nothing is held against the generation."""
    publish(store, "one")
    publish(store, "two")

    live = Live(store, "thing", 1, Faulty(OSError(errno.EIO, "x"), failing=2, text="two"))

    assert live.get() == "two"
    assert (live.open_failure_count, live.refused_count) == (2, 0)


def test_start_on_a_broken_disk_is_not_held_up(store: GenerationStore) -> None:
    """The one before it serves; the newest is taken as soon as it can be read."""
    publish(store, "one")
    publish(store, "two")
    reader = Faulty(OSError(errno.EIO, "x"), failing=999, text="two")
    started = time.monotonic()

    live = Live(store, "thing", 1, reader)

    assert live.get() == "one"
    assert time.monotonic() - started < 5
    reader.failing = 0
    assert any(live.poll() for _ in range(20))
    assert live.get() == "two"


def test_no_free_file_descriptor_refuses_nothing(store: GenerationStore) -> None:
    """The real thing: at the limit of open files nothing can be read, below it all can."""
    publish(store, "one")
    live = Live(store, "thing", 1, read)
    publish(store, "two")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (3 + len(list(Path("/proc/self/fd").iterdir())), hard)
    )
    held = []
    try:
        while True:
            try:
                held.append(os.dup(0))
            except OSError:
                break
        during = live.poll()
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert not during
    assert (live.open_failure_count, live.refused_count) == (1, 0)
    assert live.poll()
    assert live.get() == "two"


def test_a_generation_that_waits_for_another_is_asked_again(store: GenerationStore) -> None:
    """NotReady from the reader is no refusal: the next poll tries again."""
    ready = False

    def wait(generation: Generation) -> str:
        if not ready and read(generation) == "two":
            raise NotReady("the other one is not swapped in yet")
        return read(generation)

    publish(store, "one")
    live = Live(store, "thing", 1, wait)
    publish(store, "two")
    assert not live.poll()
    ready = True

    assert live.poll()
    assert live.get() == "two"
    assert live.refused_count == 0


def test_a_roll_back_is_followed(store: GenerationStore) -> None:
    """When CURRENT goes back, so does the value."""
    publish(store, "one")
    publish(store, "two")
    live = Live(store, "thing", 1, read)

    store.roll_back("thing")

    assert live.poll()
    assert live.get() == "one"


def test_damage_of_current_does_not_stop_service(store: GenerationStore) -> None:
    """CURRENT that names nothing: what is open goes on serving."""
    publish(store, "one")
    live = Live(store, "thing", 1, read)
    (store.root / "thing" / "CURRENT").write_bytes(b"\xff\xfe")

    assert not live.poll()
    assert live.get() == "one"

    (store.root / "thing" / "CURRENT").write_text("20990101T000000000000-dead\n")

    assert not live.poll()
    assert live.get() == "one"


def test_watcher_swaps_while_readers_read(store: GenerationStore) -> None:
    """Readers in four threads see whole values only, and the newest soon."""
    publish(store, "0")
    live = Live(store, "thing", 1, read)
    watcher = GenerationWatcher([live], period=0.002)
    seen: list[set[str]] = [set() for _ in range(4)]
    stopped = threading.Event()

    def look(mine: set[str]) -> None:
        while not stopped.is_set():
            mine.add(live.get())

    threads = [threading.Thread(target=look, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    watcher.start()
    for number in range(1, 6):
        publish(store, str(number))
    give_up = time.monotonic() + 10
    while live.get() != "5" and time.monotonic() < give_up:
        time.sleep(0.005)
    stopped.set()
    watcher.stop()
    for thread in threads:
        thread.join()

    assert live.get() == "5"
    assert set().union(*seen) <= {str(number) for number in range(6)}


def test_watcher_outlives_a_listener_that_fails(store: GenerationStore) -> None:
    """A swap listener's error ends neither the thread nor the following artifacts' polls."""

    def fail(generation: Generation, text: str) -> None:
        if text == "bad":
            raise RuntimeError(generation.id)

    publish(store, "one")
    first = Live(store, "thing", 1, read, on_swap=fail)
    second = Live(store, "thing", 1, read)
    publish(store, "bad")
    watcher = GenerationWatcher([first, second], period=0.001)
    watcher.start()
    give_up = time.monotonic() + 10
    while second.get() != "bad" and time.monotonic() < give_up:
        time.sleep(0.005)
    watcher.stop()

    assert second.get() == "bad"
