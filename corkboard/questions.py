"""What the client can be asked with beside ids: small frozen values, all fields optional.

```python
from corkboard.questions import PinFilter, Rules

client.recommend("u1", rules=Rules(diversity=0.3, filter=PinFilter('language = "ja"')))
```
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class PinFilter:
    """Which pins may be in an answer; all of it must hold.

    Attributes:
        expression: As docs/filters.md has it, such as `language = "ja"`; "" = all pins.
        name: A filter of the server's configuration; "" = none.
        parameters: Values of the placeholders (`$market`) of both.
        age_max: Only pins at most this old; None = of any age.
        age_min: Only pins at least this old; None = of any age.
        excluded_owner_ids: Owners whose pins are left out.
        is_local_only: Only pins of the viewer's language or country.
    """

    expression: str = ""
    name: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    age_max: timedelta | None = None
    age_min: timedelta | None = None
    excluded_owner_ids: Sequence[str] = ()
    is_local_only: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What the reader is doing now.

    Attributes:
        origin: `home`, `search`, `board`, `related_pins` or `external`; "" = not known.
        board_id: The board the reader came from or saves to.
        queries: The reader's latest searches, newest first, up to 10.
        platform: The kind of client, lower case, such as `ios`; "" = `other`.
    """

    origin: str = ""
    board_id: str = ""
    queries: Sequence[str] = ()
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """How an answer is put together; None or "" leaves it to the scenario.

    Attributes:
        scenario: The configuration of a place in the product; "" = the surface's own.
        page_token: `next_page_token` of the page before.
        page_id: Lists of one page bear the same name and show no pin twice.
        diversity: How unlike each other the pins should be, 0 to 1.
        rotation_rate: How much pins shown lately are held back, 0 to 1.
        rotation_time: How long "lately" is, up to 30 days.
        filter: Which pins may be in the answer; ages and `is_local_only` are not looked at here.
        score_min: Least score of a pin, 0 to 1; 0 = all.
        experiment_arms: Arms to take by experiment, for trying out.
    """

    scenario: str = ""
    page_token: str = ""
    page_id: str = ""
    diversity: float | None = None
    rotation_rate: float | None = None
    rotation_time: timedelta | None = None
    filter: PinFilter = PinFilter()
    score_min: float = 0.0
    experiment_arms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueryPin:
    """A pin to start from: how much it counts (> 0), what the user did to it and when."""

    pin_id: str
    weight: float = 1.0
    action_type: str = ""
    action_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class CandidateQuestion:
    """What to ask candidate_service for.

    Attributes:
        query_pins: Always queried, up to 100.
        medoids: Of which some are sampled, up to 1,000.
        medoid_sample_count: How many; 0 = the server's default of 3.
        medoid_choice: `sampled` or `all`.
        query_merge: `round_robin` or `best_score`.
        sources: Quota by source name, 0 = its own; {} = all sources.
        session_pin_ids: What the user just acted on, newest first, up to 100.
        declared_pin_ids: Interests picked at sign-up, up to 100.
        query_text: Words the user just searched for.
        excluded_pin_ids: Pins that must not be proposed.
        filter: Which pins may be proposed.
        language: Of the reader.
        country: Of the reader.
        owner_pin_count_max: At most so many pins of one owner in a list; 0 = no cap.
        board_pin_count_max: At most so many pins of one board in a list; 0 = no cap.
        seed: Of sampling and walks.
    """

    query_pins: Sequence[QueryPin] = ()
    medoids: Sequence[QueryPin] = ()
    medoid_sample_count: int = 0
    medoid_choice: str = "sampled"
    query_merge: str = "round_robin"
    sources: Mapping[str, int] = field(default_factory=dict)
    session_pin_ids: Sequence[str] = ()
    declared_pin_ids: Sequence[str] = ()
    query_text: str = ""
    excluded_pin_ids: Sequence[str] = ()
    filter: PinFilter = PinFilter()
    language: str = ""
    country: str = ""
    owner_pin_count_max: int = 0
    board_pin_count_max: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PinRecord:
    """A pin to add or change.

    Attributes:
        pin_id: 1 to 128 bytes.
        title: Up to 64 KiB.
        description: Up to 64 KiB.
        topics: Up to 64.
        language: As in BCP 47.
        country: As in ISO 3166.
        owner_id: Who owns it.
        image_url: Where its picture is, of one line: an address, or a path below `image_folder`.
        creation_time: When it was made; None = now.
        attributes: For filters; up to 32.
        quality: How good it looks, 0 to 1; None = not known.
        is_hidden: Kept for learning, never shown.
        expiration_time: From when on it is not shown; None = never.
        vector: Of the dimension of the imported ones; () = none.
        text_vector: Of its text, in a space of its own; () = none.
        visual_vector: Of its picture, in a space of its own; () = none.
        image_hash: Perceptual hash of its picture; None = made from `image_bytes` if given.
        image_bytes: Its picture as a file, up to 1 MiB; hashed and not kept.
    """

    pin_id: str
    title: str = ""
    description: str = ""
    topics: Sequence[str] = ()
    language: str = ""
    country: str = ""
    owner_id: str = ""
    image_url: str = ""
    creation_time: datetime | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    quality: float | None = None
    is_hidden: bool = False
    expiration_time: datetime | None = None
    vector: Sequence[float] = ()
    text_vector: Sequence[float] = ()
    visual_vector: Sequence[float] = ()
    image_hash: int | None = None
    image_bytes: bytes = b""


@dataclass(frozen=True, slots=True)
class SaveRecord:
    """A save of a pin on a board.

    Attributes:
        pin_id: The pin; the catalogue need not know it yet.
        board_id: The board; "" = the user's own unnamed board.
        user_id: Who saved; may be "" with a board.
        save_id: Unique; "" lets the client make one.
        save_time: When; None = now.
        board_title: Title of the board; "" = as it was.
    """

    pin_id: str
    board_id: str = ""
    user_id: str = ""
    save_id: str = ""
    save_time: datetime | None = None
    board_title: str = ""


@dataclass(frozen=True, slots=True)
class ShownPin:
    """A pin that a client showed, and where, from 0; `is_inserted`: the client put it there."""

    pin_id: str
    position: int
    is_inserted: bool = False
