"""What the client gives back: small frozen values that print well, free of gRPC.

Times are aware datetimes in UTC, ages timedeltas.  A title is "" where the catalogue has none or
could not be asked; everything that shows a pin then falls back to its id (`RecommendedPin.name`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Pin:
    """What the catalogue knows of one pin; `is_known` False leaves all but the id empty."""

    pin_id: str
    is_known: bool
    title: str = ""
    description: str = ""
    topics: tuple[str, ...] = ()
    language: str = ""
    country: str = ""
    owner_id: str = ""
    image_url: str = ""
    creation_time: datetime | None = None

    @property
    def name(self) -> str:
        """The title, or the id where there is none."""
        return self.title or self.pin_id


@dataclass(frozen=True, slots=True)
class SourceReason:
    """One source that proposed a pin.

    Attributes:
        source: For example `pixie`.
        rank: The pin's rank in that source's list, from 0.
        score: The source's own score; comparable within that source only.
        query_pin_id: The medoid or query pin behind it; "" for popular pins.
    """

    source: str
    rank: int
    score: float
    query_pin_id: str = ""


@dataclass(frozen=True, slots=True)
class RecommendedPin:
    """One pin of an answer and why it is there.

    Attributes:
        pin_id: The pin.
        score: The ranker's score, higher is better.
        position: Where in the answer, from 0.
        sources: Every source that proposed it, the one that ranked it highest first.
        because_pin_id: The medoid or query pin that best explains it; "" if only popularity does.
        title: Of the pin.
        because_title: Of the pin behind it.
    """

    pin_id: str
    score: float
    position: int
    sources: tuple[SourceReason, ...] = ()
    because_pin_id: str = ""
    title: str = ""
    because_title: str = ""

    @property
    def name(self) -> str:
        """The title, or the id where there is none."""
        return self.title or self.pin_id

    @property
    def because_name(self) -> str:
        """Title or id of the pin behind it; "" where there is none."""
        return self.because_title or self.because_pin_id


@dataclass(frozen=True, slots=True)
class Degradation:
    """A part of an answer that is not as it should be (`profile`, `source:pixie` …), and why."""

    part: str
    reason: str


@dataclass(frozen=True, slots=True)
class Recommendations:
    """An answer of ranking_service, best pin first.  `print(answer)` gives a readable list.

    Attributes:
        list_id: Names the answer; send it along with the actions that follow from it.
        pins: Best first.
        degradations: Empty in an answer in good health.
        is_cold_start: Nothing was known of the user but, perhaps, declared interests.
        profile_age: How old the batch part of the profile is; None without one.
        generations: The generation behind each artifact that took part.
        model: Which model scored.
        candidate_count: Number of distinct candidates that were scored.
    """

    list_id: str
    pins: tuple[RecommendedPin, ...]
    degradations: tuple[Degradation, ...] = ()
    is_cold_start: bool = False
    profile_age: timedelta | None = None
    generations: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    candidate_count: int = 0

    @property
    def pin_ids(self) -> tuple[str, ...]:
        """The ids, best first."""
        return tuple(pin.pin_id for pin in self.pins)

    def __str__(self) -> str:
        """One line a pin: position from 1, name, and the name of the pin behind it."""
        lines = [
            f"{pin.position + 1:3}. {pin.name}"
            + (f"  (because of {pin.because_name})" if pin.because_pin_id else "")
            for pin in self.pins
        ]
        lines += [f"degraded: {part.part}: {part.reason}" for part in self.degradations]
        return "\n".join(lines) or "nothing to recommend"


@dataclass(frozen=True, slots=True)
class RankedPins:
    """Given pins in order, best first, and those that the catalogue does not know."""

    list_id: str
    pins: tuple[RecommendedPin, ...]
    unknown_pin_ids: tuple[str, ...] = ()
    degradations: tuple[Degradation, ...] = ()
    model: str = ""


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
class Profile:
    """The interests of one user, most important first.

    Attributes:
        user_id: Whose.
        clusters: Most important first.
        is_cold_start: Nothing is known but, perhaps, declared interests.
        batch_time: Up to when the batch part knows the user's actions; None without one.
        generation: Where the batch part was read from; "" without one.
        online_action_count: Number of actions since the batch run that are part of this.
    """

    user_id: str
    clusters: tuple[Cluster, ...]
    is_cold_start: bool = False
    batch_time: datetime | None = None
    generation: str = ""
    online_action_count: int = 0

    def __str__(self) -> str:
        """One line a cluster: importance, number of actions and the medoid's name."""
        lines = [
            f"{cluster.importance:8.2f}  {cluster.action_count:4} actions  {cluster.name}"
            for cluster in self.clusters
        ]
        return "\n".join(lines) or f"nothing is known of {self.user_id}"


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
class RecordedAction:
    """What became of one action: `recorded`, `duplicate` or `invalid` with the field and reason."""

    action_id: str
    code: str
    field: str = ""
    reason: str = ""


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
class Source:
    """One candidate source of candidate_service and whether it can be asked."""

    source: str
    is_ready: bool
    reason: str
    candidate_count: int
    generations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The candidate sources, with the size and generation of the catalogue behind them."""

    sources: tuple[Source, ...]
    pin_count: int
    generation: str


@dataclass(frozen=True, slots=True)
class Model:
    """One ranking model; `quality` holds the figures that its training measured."""

    model: str
    generation: str
    is_serving: bool
    quality: Mapping[str, float]
