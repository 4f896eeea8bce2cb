"""What candidate_service answers: pins, sources, lists of candidates, boards, writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Pin:
    """What the catalogue knows of one pin; `is_known` False leaves all but the id empty.

    Attributes:
        pin_id: The pin.
        is_known: Whether the catalogue knows it.
        title: Of the pin; "" for none.
        description: Of the pin.
        topics: Most telling first.
        language: As in BCP 47.
        country: As in ISO 3166.
        owner_id: Who owns it.
        image_url: Where its picture is.
        creation_time: When it was made; None where that is not known.
        attributes: What filters can ask for beside the other fields.
        quality: How good it looks, 0 to 1; None where that is not known.
        is_hidden: Kept for learning, never shown.
        expiration_time: From when on it is not shown; None: never.
        image_hash: Perceptual hash of its picture, 64 bits; None without one.
        vector: Unit length; () unless asked for.
        is_live: Younger than the catalogue's generation.
    """

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
    attributes: Mapping[str, str] = field(default_factory=dict)
    quality: float | None = None
    is_hidden: bool = False
    expiration_time: datetime | None = None
    image_hash: int | None = None
    vector: tuple[float, ...] = ()
    is_live: bool = False

    @property
    def name(self) -> str:
        """The title, or the id where there is none."""
        return self.title or self.pin_id


@dataclass(frozen=True, slots=True)
class Source:
    """One candidate source of candidate_service and whether it can be asked.

    Attributes:
        source: Its name.
        is_ready: Whether it can be asked now.
        reason: Why not; "" where it is ready.
        candidate_count: How many candidates it is asked for by default.
        generations: What it answers from, artifact by artifact.
        as_of_time: Up to when the data behind its oldest generation reaches; None without one.
        pin_count: How many pins it can propose.
        answer_count: Answers since the service's start.
        late_count: Times it was left out as late since then.
        failure_count: Times it failed since then.
        cache_hit_ratio: Share of look-ups answered from memory, 0 to 1; 0 without a cache.
        sampled_recall: Share of the true nearest pins that it finds, 0 to 1; None where nothing
            was sampled or it does not search.
    """

    source: str
    is_ready: bool
    reason: str
    candidate_count: int
    generations: Mapping[str, str]
    as_of_time: datetime | None = None
    pin_count: int = 0
    answer_count: int = 0
    late_count: int = 0
    failure_count: int = 0
    cache_hit_ratio: float = 0.0
    sampled_recall: float | None = None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The candidate sources, with the size and generation of the catalogue behind them.

    Attributes:
        sources: In a fixed order.
        pin_count: Pins of the catalogue's generation.
        generation: Its id; "" before there is one.
        as_of_time: Up to when its data reaches.
        live_change_count: Pins and saves added, changed or removed since that generation.
    """

    sources: tuple[Source, ...]
    pin_count: int
    generation: str
    as_of_time: datetime | None = None
    live_change_count: int = 0


@dataclass(frozen=True, slots=True)
class FoundPin:
    """A pin that a search found; scores compare within one answer only."""

    pin_id: str
    score: float
    title: str = ""

    @property
    def name(self) -> str:
        """The title, or the id where there is none."""
        return self.title or self.pin_id


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """What a search found, best first, and the generation of the text index."""

    pins: tuple[FoundPin, ...]
    generation: str = ""

    def __str__(self) -> str:
        """One line a pin."""
        return "\n".join(f"{pin.score:8.3f}  {pin.name}" for pin in self.pins) or "nothing found"


@dataclass(frozen=True, slots=True)
class RecommendedBoard:
    """A board that walks from the query pins visit.

    Attributes:
        board_id: The board.
        title: Its title; "" where that is not known.
        score: Share of the walks' steps that visited it.
        query_pin_id: The query pin behind it.
        pin_count: How many pins it holds.
        pin_ids: Some of them, most visited first.
    """

    board_id: str
    title: str
    score: float
    query_pin_id: str
    pin_count: int
    pin_ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """The title, or the id where there is none."""
        return self.title or self.board_id


@dataclass(frozen=True, slots=True)
class BoardAnswer:
    """Boards, best first, and the pins of the request that the catalogue does not know."""

    boards: tuple[RecommendedBoard, ...]
    unknown_pin_ids: tuple[str, ...] = ()
    graph_generation: str = ""


@dataclass(frozen=True, slots=True)
class QueriedPin:
    """A pin that the sources started from, and how likely it was to be chosen (1: always)."""

    pin_id: str
    weight: float
    is_medoid: bool
    inclusion_probability: float


@dataclass(frozen=True, slots=True)
class SourceList:
    """What one source proposes, best first; the tuples are parallel.

    Attributes:
        source: Its name.
        status: `ok`, `late`, `failed` or `not_ready`; empty tuples unless `ok`.
        reason: Why it was left out.
        pin_ids: Best first.
        scores: The source's own, never rising.
        query_pin_ids: The query pin behind each; "" where there is none.
        duration_us: How long it took.
        generation: What it answered from.
    """

    source: str
    status: str
    reason: str
    pin_ids: tuple[str, ...]
    scores: tuple[float, ...]
    query_pin_ids: tuple[str, ...]
    duration_us: int
    generation: str


@dataclass(frozen=True, slots=True)
class CandidateAnswer:
    """The proposals of all sources that were asked.

    Attributes:
        lists: One for each source, in a fixed order.
        queried_pins: What they started from.
        unknown_pin_ids: Pins of the request that the catalogue does not know.
        catalogue_generation: What the answer was made with.
        live_pins: Those of the proposed pins that are younger than that generation, without texts,
            pictures and attributes.
        duplicate_groups: Near-duplicate group by pin id, of the pins that are in one.
    """

    lists: tuple[SourceList, ...]
    queried_pins: tuple[QueriedPin, ...] = ()
    unknown_pin_ids: tuple[str, ...] = ()
    catalogue_generation: str = ""
    live_pins: tuple[Pin, ...] = ()
    duplicate_groups: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WrittenItem:
    """What became of one pin or save: `written`, `unchanged`, `unknown`, or `invalid` and why."""

    item_id: str
    code: str
    field: str = ""
    reason: str = ""
