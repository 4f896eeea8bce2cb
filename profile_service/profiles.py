"""What the service answers about a user: last night's generation and the live log read as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from profile_service.actions import ActionColumns, acted_pins, actions_in, join, recent_actions
from profile_service.adjustments import Adjustment, PinSpace, forgotten, unwanted
from profile_service.codec import Erasure
from profile_service.erasure import ErasedStore, UserRecords, receipt, verified
from profile_service.generation_store import ProfileStore
from profile_service.online import BatchPart, Rules, fold
from profile_service.profile import NO_ACTIONS, Attributes, Profile
from profile_service.store import ActionLog
from service_runtime.generations import Generation, Live


@dataclass(frozen=True, slots=True)
class _Known:
    """What the stores hold of one user, read at one moment."""

    generation: Generation | None
    batch: BatchPart | None
    online: ActionColumns
    is_hidden: bool = False


class Profiles:
    """
    Reads profiles, histories and erasures; safe for many threads.

    Args:
        log: The live action log.
        profiles: The generations of batch profiles.
        space: Gives what is known of pins.
        rules: The constants.
        online_action_count_max: Newest actions since the batch run that are folded in.
        count_logged: Counts the rows of a user in the event log.
    """

    def __init__(
        self,
        log: ActionLog,
        profiles: Live[ProfileStore],
        space: Callable[[], PinSpace],
        rules: Rules,
        *,
        online_action_count_max: int,
        count_logged: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self._log = log
        self._profiles = profiles
        self._space = space
        self._rules = rules
        self._online_action_count_max = online_action_count_max
        self._count_logged = count_logged

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
        adjustments = self._log.adjustments_by(user_id)
        clusters, origins = fold(
            known.batch,
            known.online,
            declared,
            self._space(),
            self._rules,
            now=now,
            adjustments=adjustments,
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
            recent=recent_actions(
                everything, recent_limit, dropped=self._dropped(everything, adjustments)
            ),
            declared_pin_ids=self._wanted(declared.pin_ids if declared else (), adjustments),
            attributes=self._log.attributes_of(user_id),
        )

    def _dropped(
        self, actions: ActionColumns, adjustments: Sequence[Adjustment]
    ) -> NDArray[np.bool_] | None:
        """Which actions belong to interests that the user muted or had forgotten."""
        if not adjustments or not len(actions):
            return None
        space, alpha = self._space(), self._rules.alpha
        gone = forgotten(actions, adjustments, space, alpha=alpha)
        return gone | unwanted(actions.pin_ids, adjustments, space, alpha=alpha)

    def _wanted(self, pin_ids: Sequence[str], adjustments: Sequence[Adjustment]) -> Sequence[str]:
        """Declared pins without those of muted interests."""
        if not adjustments:
            return pin_ids
        muted = unwanted(pin_ids, adjustments, self._space(), alpha=self._rules.alpha)
        return [pin_id for pin_id, is_muted in zip(pin_ids, muted, strict=True) if not is_muted]

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
        before = self._records(user_id, known, logged_count=in_history)
        _, action_count, declared_count = self._log.erase(
            user_id, time_us=time_us, receipt_id=receipt_id
        )
        return receipt(replace(before, action_count=action_count, declared_count=declared_count))

    def verify(self, user_id: str) -> tuple[Erasure | None, list[ErasedStore]]:
        """
        Ask every store of this service anew whether it knows a user.

        Returns:
            The last erasure of the user, None if there was none, and what each store says.

        Cost: reads the event log, whole.
        """
        known = self._read(user_id, None)
        records = self._records(user_id, known, logged_count=self._count_logged(user_id))
        return self._log.erasure_of(user_id), verified(records)

    def merge(
        self, source_id: str, target_id: str, *, time_us: int, receipt_id: str
    ) -> tuple[int, int]:
        """
        Move everything of one user to another; the first is then unknown.

        The source's newest actions that the generation knows come along as live actions of the
        target, so that its next profile has them.

        Returns:
            How many actions and declared pins moved; none when the source was unknown.

        Raises:
            Exhausted: If map or disk is full; then nothing has changed.
        """
        known = self._read(source_id, None)
        stored = known.batch.history() if known.batch else NO_ACTIONS
        return self._log.merge(
            source_id,
            target_id,
            actions_in(stored, target_id),
            time_us=time_us,
            receipt_id=receipt_id,
        )

    def _records(self, user_id: str, known: _Known, *, logged_count: int) -> UserRecords:
        declared = self._log.declared_by(user_id)
        return UserRecords(
            action_count=len(self._log.actions_of(user_id)),
            declared_count=len(declared.pin_ids) if declared else 0,
            attribute_count=int(self._log.attributes_of(user_id) != Attributes()),
            adjustment_count=len(self._log.adjustments_by(user_id)),
            has_batch=known.batch is not None,
            is_hidden=known.is_hidden,
            logged_count=logged_count,
        )

    def _read(self, user_id: str, newest: int | None) -> _Known:
        # The generation comes first: actions recorded meanwhile are past its watermark anyway.
        live = self._profiles.snapshot()
        if live is None:
            return _Known(None, None, self._log.actions_of(user_id, newest=newest))
        generation, store = live
        watermark = int(generation.manifest.details["watermark"])
        online = self._log.actions_of(user_id, newest=newest, from_position=watermark + 1)
        batch = _batch_part(generation, store, user_id)
        if batch is not None and _is_hidden(self._log.erasure_of(user_id), watermark):
            return _Known(None, None, online, is_hidden=True)
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
