"""What the service answers about a user: last night's generation and the live log read as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from profile_service.actions import ActionColumns, acted_pins, join, recent_actions
from profile_service.codec import Erasure
from profile_service.generation_store import ProfileStore
from profile_service.online import BatchPart, PinSpace, Rules, fold
from profile_service.profile import NO_ACTIONS, Profile
from profile_service.store import ActionLog
from service_runtime.generations import Generation, Live


@dataclass(frozen=True, slots=True)
class ErasedStore:
    """How far an erasure has come in one store: `erased`, `hidden` or `not_reached`."""

    store: str
    state: str
    record_count: int
    detail: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What the stores hold of one user, read at one moment."""

    generation: Generation | None
    batch: BatchPart | None
    online: ActionColumns


class Profiles:
    """
    Reads profiles, histories and erasures; safe for many threads.

    Args:
        log: The live action log.
        profiles: The generations of batch profiles.
        space: Gives what is known of pins.
        rules: The constants.
        online_action_count_max: Newest actions since the batch run that are folded in.
    """

    def __init__(
        self,
        log: ActionLog,
        profiles: Live[ProfileStore],
        space: Callable[[], PinSpace],
        rules: Rules,
        *,
        online_action_count_max: int,
    ) -> None:
        self._log = log
        self._profiles = profiles
        self._space = space
        self._rules = rules
        self._online_action_count_max = online_action_count_max

    def current(
        self,
        user_id: str,
        *,
        now: float,
        cluster_limit: int,
        acted_limit: int = 0,
        recent_limit: int = 0,
    ) -> Profile:
        """
        Read the interests of one user; empty and a cold start for someone unknown.

        Args:
            user_id: Any.
            now: Unix seconds.
            cluster_limit: Clusters at the most, most important first.
            acted_limit: Pins that the user acted on at the most, newest first.
            recent_limit: Actions that speak for an interest at the most, newest first.
        """
        known = self._read(user_id, self._online_action_count_max)
        declared = self._log.declared_by(user_id)
        clusters, origins = fold(
            known.batch,
            known.online,
            declared,
            self._space(),
            self._rules,
            now=now,
        )
        top = np.arange(min(cluster_limit, len(clusters)))
        acted: list[str] = []
        hidden: list[str] = []
        everything = _all_of(known) if acted_limit or recent_limit else NO_ACTIONS
        if acted_limit:
            acted, hidden = acted_pins(everything, acted_limit)
        return Profile(
            user_id=user_id,
            clusters=clusters.take(top),
            origins=origins[top],
            is_cold_start=not np.any(origins <= 2),
            batch_time_us=known.batch.as_of_us if known.batch else None,
            generation=known.generation.id if known.generation else "",
            online_action_count=len(known.online),
            acted_pin_ids=acted,
            hidden_pin_ids=hidden,
            recent=recent_actions(everything, recent_limit),
            declared_pin_ids=declared.pin_ids if declared else (),
        )

    def history(self, user_id: str, limit: int) -> tuple[ActionColumns, bool]:
        """
        Read the newest actions of a user, oldest first.

        Returns:
            At most *limit* actions, and whether there are more.
        """
        everything = _all_of(self._read(user_id, None))
        return everything.newest(limit), len(everything) > limit

    def erase(self, user_id: str, *, time_us: int, receipt_id: str) -> list[ErasedStore]:
        """
        Forget a user: live rows go at once, the batch part is hidden at once.

        Returns:
            Every store that may know the user, and how far it has come there.

        Raises:
            Exhausted: If map or disk is full; then nothing has changed.
        """
        known = self._read(user_id, None)
        in_history = len(known.batch.history()) if known.batch else 0
        _, action_count, declared_count = self._log.erase(
            user_id, time_us=time_us, receipt_id=receipt_id
        )
        return _receipt(action_count, declared_count, known, in_history)

    def _read(self, user_id: str, newest: int | None) -> _Known:
        # The generation comes first: actions recorded meanwhile are past its watermark anyway.
        live = self._profiles.snapshot()
        if live is None:
            return _Known(None, None, self._log.actions_of(user_id, newest=newest))
        generation, store = live
        watermark = int(generation.manifest.details["watermark"])
        online = self._log.actions_of(user_id, newest=newest, from_position=watermark + 1)
        batch = None
        if not _is_hidden(self._log.erasure_of(user_id), watermark):
            batch = _batch_part(generation, store, user_id)
        return _Known(generation if batch else None, batch, online)


def _batch_part(generation: Generation, store: ProfileStore, user_id: str) -> BatchPart | None:
    clusters = store.clusters_of(user_id)

    def history() -> ActionColumns:
        found = store.history_of(user_id)
        return NO_ACTIONS if found is None else found

    if clusters is None:
        return None
    return BatchPart(clusters, generation.manifest.as_of_us, history)


def _is_hidden(erasure: Erasure | None, watermark: int) -> bool:
    """Whether the user was forgotten after the generation's last live action."""
    return erasure is not None and erasure.position > watermark


def _all_of(known: _Known) -> ActionColumns:
    return known.online if known.batch is None else join(known.batch.history(), known.online)


def _receipt(
    action_count: int, declared_count: int, known: _Known, history_count: int
) -> list[ErasedStore]:
    rebuilt = "the next run of rebuild_profiles leaves the user out"
    has_batch = known.batch is not None
    return [
        ErasedStore("live_actions", "erased", action_count, "deleted, with their ids"),
        ErasedStore("declared_interests", "erased", declared_count, "deleted"),
        ErasedStore(
            "profiles",
            "hidden" if has_batch else "erased",
            int(has_batch),
            f"hidden from every answer; {rebuilt}; older generations go as new ones come"
            if has_batch
            else "the current generation does not know the user",
        ),
        ErasedStore(
            "event_log",
            "hidden",
            history_count,
            f"hidden; {rebuilt} and rewrites the files of events/actions without them",
        ),
        ErasedStore(
            "catalogue_saves", "not_reached", 0, "remove the user's saves with DeleteSaves"
        ),
        ErasedStore(
            "impressions", "not_reached", 0, "ranking_service keeps lists shown to the user"
        ),
    ]
