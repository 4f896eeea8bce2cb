"""What profile_service answers: interests, actions, and the receipts of all three services."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Cluster:
    """One interest of a user.

    Attributes:
        medoid_pin_id: The pin nearest to all others of the cluster.
        importance: Time-decayed weight now, at least 0; comparable within one profile.
        action_count: Number of actions in it.
        newest_action_time: When the newest of them happened; None if not known.
        origin: `batch`, `online` or `declared`.
        medoid_title: Of the medoid.
    """

    medoid_pin_id: str
    importance: float
    action_count: int
    newest_action_time: datetime | None
    origin: str
    medoid_title: str = ""

    @property
    def name(self) -> str:
        """The medoid's title, or its id where there is none."""
        return self.medoid_title or self.medoid_pin_id


@dataclass(frozen=True, slots=True)
class Action:
    """Something a user did to a pin.

    Attributes:
        user_id: Who.
        pin_id: To which pin.
        action_type: Lower case: `save`, `click`, `long_click`, `close_up`, `hide`, ….
        action_id: Unique; the same id is counted once.  "" lets the client make one.
        action_time: When; None = now, by the server's clock.
        strength: -1 to 1; None = the type's default.
        board_id: The board of a save; may be "".
        list_id: The answer in which the pin was shown; may be "".
    """

    user_id: str
    pin_id: str
    action_type: str = "save"
    action_id: str = ""
    action_time: datetime | None = None
    strength: float | None = None
    board_id: str = ""
    list_id: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """The interests of one user, most important first.

    Attributes:
        user_id: Whose.
        clusters: Most important first.
        is_cold_start: Nothing is known but, perhaps, declared interests.
        batch_time: Up to when the batch part knows the user's actions; None without one.
        generation: Where the batch part was read from; "" without one.
        online_action_count: Number of actions since the batch run that are part of this.
        recent_actions: The newest that say something of taste, newest first; () unless asked for.
        declared_pin_ids: What the user picked at sign-up.
        acted_pin_ids: Pins the user has acted on; () unless asked for.
        language: As in BCP 47; "" where that is not known.
        country: As in ISO 3166; "" where that is not known.
        segment: A segment of the operator's configuration; "" for none.
    """

    user_id: str
    clusters: tuple[Cluster, ...]
    is_cold_start: bool = False
    batch_time: datetime | None = None
    generation: str = ""
    online_action_count: int = 0
    recent_actions: tuple[Action, ...] = ()
    declared_pin_ids: tuple[str, ...] = ()
    acted_pin_ids: tuple[str, ...] = ()
    language: str = ""
    country: str = ""
    segment: str = ""

    def __str__(self) -> str:
        """One line a cluster: importance, number of actions and the medoid's name."""
        lines = [
            f"{cluster.importance:8.2f}  {cluster.action_count:4} actions  {cluster.name}"
            for cluster in self.clusters
        ]
        return "\n".join(lines) or f"nothing is known of {self.user_id}"


@dataclass(frozen=True, slots=True)
class RecordedAction:
    """What became of one action: `recorded`, `duplicate` or `invalid` with the field and reason."""

    action_id: str
    code: str
    field: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MergedUsers:
    """What moved from one user to another."""

    action_count: int
    declared_pin_count: int


@dataclass(frozen=True, slots=True)
class StoreErasure:
    """How far an erasure has come in one store: `erased`, `hidden` or `not_reached`."""

    store: str
    state: str
    record_count: int
    detail: str


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """The receipt of an erasure, naming every store that may know the user."""

    receipt_id: str
    erase_time: datetime | None
    stores: tuple[StoreErasure, ...]


@dataclass(frozen=True, slots=True)
class ErasureCheck:
    """Whether an erasure holds: every store was asked anew.

    Attributes:
        is_erased: True where every store of every service answered that it does not know the user.
        receipt_id: Of the newest erasure; "" without one.
        erase_time: When that was; None without one.
        stores: What each store says now.
    """

    is_erased: bool
    receipt_id: str
    erase_time: datetime | None
    stores: tuple[StoreErasure, ...]
