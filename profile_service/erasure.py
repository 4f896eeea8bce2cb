"""What became of an erased user in every store of this service: the receipt, and asking anew."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErasedStore:
    """How far an erasure has come in one store: `erased`, `hidden` or `not_reached`."""

    store: str
    state: str
    record_count: int
    detail: str


@dataclass(frozen=True, slots=True)
class UserRecords:
    """How many records of a user the stores hold.

    Attributes:
        action_count: In the live log.
        declared_count: Declared pins.
        attribute_count: 1 if anything is known of the user beside their actions.
        adjustment_count: What they said about their interests.
        has_batch: Whether the generation that serves knows them and shows it.
        is_hidden: Whether that generation knows them and an erasure hides it.
        logged_count: Rows in the event log (actions, users) that an erasure has not removed yet.
    """

    action_count: int = 0
    declared_count: int = 0
    attribute_count: int = 0
    adjustment_count: int = 0
    has_batch: bool = False
    is_hidden: bool = False
    logged_count: int = 0


_REBUILT = "the next run of rebuild_profiles leaves the user out"


def receipt(before: UserRecords) -> list[ErasedStore]:
    """Tell what an erasure did, from what there was before it."""
    has_batch = before.has_batch
    return [
        ErasedStore("live_actions", "erased", before.action_count, "deleted, with their ids"),
        ErasedStore("declared_interests", "erased", before.declared_count, "deleted"),
        ErasedStore("attributes", "erased", before.attribute_count, "deleted"),
        ErasedStore("adjustments", "erased", before.adjustment_count, "deleted"),
        ErasedStore(
            "profiles",
            "hidden" if has_batch else "erased",
            int(has_batch),
            f"hidden from every answer; {_REBUILT}; older generations go as new ones come"
            if has_batch
            else "the current generation does not know the user",
        ),
        ErasedStore(
            "event_log",
            "hidden",
            before.logged_count,
            f"hidden; {_REBUILT} and rewrites events/actions and events/users without them",
        ),
        ErasedStore("catalogue_saves", "not_reached", 0, "ask candidate_service: EraseUser"),
        ErasedStore("impressions", "not_reached", 0, "ask ranking_service: EraseUser"),
    ]


def verified(now: UserRecords) -> list[ErasedStore]:
    """Tell how an erasure stands, from what there is now, for the stores of this service."""
    live = {
        "live_actions": now.action_count,
        "declared_interests": now.declared_count,
        "attributes": now.attribute_count,
        "adjustments": now.adjustment_count,
    }
    stores = [
        ErasedStore(name, "not_reached", count, "the user has come back: erase them again")
        if count
        else ErasedStore(name, "erased", 0, "nothing there")
        for name, count in live.items()
    ]
    if now.has_batch:
        profiles = ErasedStore("profiles", "not_reached", 1, "the generation knows the user")
    elif now.is_hidden:
        profiles = ErasedStore("profiles", "hidden", 1, f"hidden from every answer; {_REBUILT}")
    else:
        profiles = ErasedStore("profiles", "erased", 0, "the generation does not know the user")
    logged = ErasedStore("event_log", "erased", 0, "nothing there")
    if now.logged_count:
        logged = ErasedStore("event_log", "hidden", now.logged_count, f"hidden; {_REBUILT}")
    return [*stores, profiles, logged]
