"""The words that say how an evaluation is made."""

from enum import StrEnum


class SplitKind(StrEnum):
    """How what is asked for is set apart."""

    AUTO = "auto"
    TIME = "time"
    LAST = "last"


class Start(StrEnum):
    """What a question starts from."""

    INTERESTS = "interests"
    """Sampled medoids and the newest actions, as ranking_service does."""
    HISTORY = "history"
    """All that the user acted on, the newest 100 pins, each counting the same."""
