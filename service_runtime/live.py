"""An opened artifact that follows its newest good generation while it serves.

Import from `service_runtime.generations`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from threading import Event, Lock, Thread
from typing import Final, Generic, Protocol, TypeVar

from service_runtime.errors import CorkboardError, Corrupted, NotReady
from service_runtime.generation_store import (
    Generation,
    GenerationStore,
    build_hint,
    log_refusal,
)
from service_runtime.manifest import CURRENT, damage
from service_runtime.passing_faults import is_passing
from service_runtime.telemetry import logger

T = TypeVar("T")

START_ATTEMPTS: Final = 3
"""How often what this machine cannot read is tried at the start; then it is left to the polls."""
START_PAUSE_SECONDS: Final = 0.2
SKIPPED_POLLS_MAX: Final = 15
"""Polls left out between two tries, at most: each try reads every byte of the generation. Guess."""

_log = logger("service_runtime.generations")


class Live(Generic[T]):
    """
    An opened artifact that follows its newest good generation while it is being read.

    Making one opens the latest good generation if there is any; if there is none, `get` says so
    until `poll` finds one. The value that was replaced is left to its last reader.
    """

    def __init__(
        self,
        store: GenerationStore,
        artifact: str,
        format_version: int | Collection[int],
        open: Callable[[Generation], T],  # noqa: A002  it is what the argument does
        *,
        on_swap: Callable[[Generation, T], None] | None = None,
        on_refused: Callable[[str, str], None] | None = None,
    ) -> None:
        """
        Open the latest good generation.

        Args:
            store: Where generations are.
            artifact: Its name.
            format_version: The layouts that *open* reads.
            open: Makes the value. It may raise `NotReady` to be asked again at the next poll (when
                it needs another artifact to be swapped first). What this machine refused at the
                moment (see `passing_faults`) is tried again; any other error refuses the
                generation.
            on_swap: Told the generation and the value after they became visible.
            on_refused: Told the generation's id and the reason, once for each.
        """
        self.artifact = artifact
        self.refused_count = 0
        self.fetch_failure_count = 0
        self.open_failure_count = 0
        self.swap_count = 0
        self._store = store
        self._format_version = format_version
        self._open = open
        self._on_swap = on_swap
        self._on_refused = on_refused
        self._refused: dict[str, str] = {}
        self._current = ""
        self._is_failing = False
        self._polls_to_skip = 0
        self._pause = 0
        self._waiting = ""
        self._lock = Lock()
        self._live: tuple[Generation, T] | None = None
        self._is_fetching = True
        self.fetch()
        self._begin()

    def get(self) -> T:
        """
        Return the opened value; one attribute read.

        Raises:
            NotReady: If no good generation was found so far.
        """
        live = self._live
        if live is None:
            raise self._not_ready()
        return live[1]

    @property
    def generation(self) -> Generation:
        """
        The generation that serves.

        Raises:
            NotReady: If no good generation was found so far.
        """
        live = self._live
        if live is None:
            raise self._not_ready()
        return live[0]

    def snapshot(self) -> tuple[Generation, T] | None:
        """Return generation and value that belong together, None if there are none yet."""
        return self._live

    @property
    def refuses_current(self) -> bool:
        """Whether what is current, here or in the object store, was found bad."""
        return self._current in self._refused or self._store.refuses_remote(self.artifact)

    def poll(self) -> bool:
        """
        Swap in the current generation if it changed and proves good.

        Returns:
            True if the value changed. A bad generation is refused once: logged, counted, not tried
            again while the process lives. One that this machine could not read just now is tried
            again, after ever more polls. Meanwhile the value in service stays.
        """
        with self._lock:
            if self._polls_to_skip:
                self._polls_to_skip -= 1
                return False
            opened = self._try_newest()
        if opened is None:
            return False
        generation, value = opened
        _log.info("generation.opened", artifact=self.artifact, generation=generation.id)
        if self._on_swap is not None:
            self._on_swap(generation, value)
        return True

    def _begin(self) -> None:
        """Poll for the first time; if this machine could not read something, a few times more."""
        for attempt in range(1, START_ATTEMPTS + 1):
            self.poll()
            if not self._is_failing or attempt == START_ATTEMPTS:
                return
            self._polls_to_skip = 0
            time.sleep(START_PAUSE_SECONDS * attempt)

    def _try_newest(self) -> tuple[Generation, T] | None:
        """Open what should serve instead of what does, None if there is no such; needs the lock."""
        failure_count = self.open_failure_count
        try:
            opened = self._open_first(self._wanted())
        except OSError as fault:  # the folder itself cannot be read
            self._fail(CURRENT, fault)
            opened = None
        if opened is not None:
            self._live = opened
            self.swap_count += 1
        if self.open_failure_count > failure_count:
            self._polls_to_skip = self._pause
            self._pause = min(2 * self._pause + 1, SKIPPED_POLLS_MAX)
        elif self._is_failing:
            self._is_failing, self._pause = False, 0
            _log.info("generation.open_resumed", artifact=self.artifact)
        return opened

    def fetch(self) -> None:
        """Bring the folder to what is current in the object store; a failure is logged once."""
        try:
            self._store.fetch(self.artifact)
        except (CorkboardError, OSError) as fault:
            self.fetch_failure_count += 1
            if self._is_fetching:
                _log.error("generation.fetch_failed", artifact=self.artifact, reason=str(fault))
            self._is_fetching = False
        else:
            if not self._is_fetching:
                _log.info("generation.fetch_resumed", artifact=self.artifact)
            self._is_fetching = True

    def reopen(self) -> None:
        """Open the generation that serves once more and swap the new value in; nothing if none."""
        with self._lock:
            if (live := self._live) is None:
                return
            self._live = (live[0], self._open(live[0]))
        if self._on_swap is not None:
            self._on_swap(*self._live)

    def _wanted(self) -> list[str]:
        """The ids to try, best first; [] if what serves is what should."""
        live_id = self._live[0].id if self._live is not None else ""
        self._current = current_id = self._read_current()
        if live_id and (current_id in {"", live_id} or current_id in self._refused):
            return []
        known = self._store.candidates(self.artifact)
        if current_id and current_id != CURRENT and current_id not in known:
            folder, found = self._store.root / self.artifact, f"{current_id}, which is not there"
            self._current = f"{CURRENT} {current_id}"  # the id itself may turn up yet
            fault = damage(self.artifact, folder, CURRENT, "an existing generation", found)
            self._refuse(self._current, fault)
        wanted = [known_id for known_id in known if known_id not in self._refused]
        # Once something serves nothing but the best is better.
        return [one for one in wanted[:1] if one != live_id] if live_id else wanted

    def _read_current(self) -> str:
        """What CURRENT names; "" if there is none, `CURRENT` if it is no id, which is told once."""
        try:
            return self._store.current_id(self.artifact) or ""
        except Corrupted as fault:
            self._refuse(CURRENT, fault)
            return CURRENT

    def _open_first(self, generation_ids: Sequence[str]) -> tuple[Generation, T] | None:
        """Open the first of them that can be."""
        opened = (self._try_open(generation_id) for generation_id in generation_ids)
        return next((pair for pair in opened if pair is not None), None)

    def _try_open(self, generation_id: str) -> tuple[Generation, T] | None:
        try:
            generation = self._store.verify(
                self.artifact, generation_id, format_version=self._format_version
            )
            return generation, self._open(generation)
        except NotReady as fault:
            if self._waiting != generation_id:
                self._waiting = generation_id
                _log.info(
                    "generation.waiting",
                    artifact=self.artifact,
                    generation=generation_id,
                    reason=str(fault),
                )
        except Exception as fault:  # noqa: BLE001  whatever a bad file makes a reader raise, the old one serves
            if is_passing(fault):
                self._fail(generation_id, fault)
            else:
                self._refuse(generation_id, fault)
        return None

    def _fail(self, generation_id: str, fault: Exception) -> None:
        """Count that this machine could not read something just now; told once a spell."""
        self.open_failure_count += 1
        if not self._is_failing:
            self._is_failing = True
            _log.error(
                "generation.open_failed",
                artifact=self.artifact,
                generation=generation_id,
                reason=str(fault) or type(fault).__name__,
            )

    def _refuse(self, generation_id: str, fault: Exception) -> None:
        if generation_id in self._refused:
            return
        self._refused[generation_id] = str(fault)
        self.refused_count += 1
        log_refusal(self.artifact, generation_id, fault)
        if self._on_refused is not None:
            self._on_refused(generation_id, str(fault))

    def _not_ready(self) -> NotReady:
        message = f"there is no usable generation of {self.artifact} yet"
        if self._refused:
            message += ": " + "; ".join(self._refused.values())
        return NotReady(message, hint=build_hint(self.artifact))


class Polled(Protocol):
    """Something that looks now and then whether it should change."""

    artifact: str
    """What it is called in logs."""

    def poll(self) -> bool:
        """Look once; returns whether something changed."""


class GenerationWatcher:
    """
    A thread that polls live artifacts in the given order: put what others need first.

    A second one fetches from the object store, so that a slow one holds up no swap.
    """

    def __init__(self, lives: Sequence[Polled], period: float, fetch_period: float = 0) -> None:
        """
        Remember what to poll; `start` begins.

        Args:
            lives: What to poll.
            period: Seconds between two polls, > 0.
            fetch_period: Seconds between two looks at the object store; 0 = there is none.
        """
        self._lives = tuple(lives)
        self._period = period
        self._fetch_period = fetch_period
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="generation-watcher", daemon=True)
        self._fetcher = Thread(target=self._fetch, name="generation-fetcher", daemon=True)

    def start(self) -> None:
        """Begin to poll; the first poll comes after one period."""
        self._thread.start()
        if self._fetch_period > 0:
            self._fetcher.start()

    def stop(self) -> None:
        """End the threads; a download under way is left alone and swept by the next process."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _fetch(self) -> None:
        known = {live.artifact: live for live in self._lives if isinstance(live, Live)}
        while not self._stopped.wait(self._fetch_period):
            for live in known.values():
                if self._stopped.is_set():
                    return
                live.fetch()

    def _run(self) -> None:
        while not self._stopped.wait(self._period):
            for live in self._lives:
                try:
                    live.poll()
                except Exception:  # noqa: BLE001  the thread must outlive whatever a swap listener raises
                    _log.exception("generation.poll_failed", artifact=live.artifact)
