"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that was looked at.

    Attributes:
        area: machine, settings, data or services.
        check: What was looked at, `disk`, `generation profiles`.
        level: How bad it is.
        told: What is so, in one sentence with its figures.
        remedy: What to do; empty where there is nothing to do.
    """

    area: str
    check: str
    level: Level
    told: str
    remedy: str = ""

    def __post_init__(self) -> None:
        assert bool(self.remedy) == (self.level is not Level.OK), "a finding says what to do"


def graded(
    area: str, check: str, told: str, *, problem: bool = False, warning: bool = False, remedy: str
) -> Finding:
    """A finding whose remedy counts only if it is a problem or a warning."""
    level = Level.PROBLEM if problem else Level.WARNING if warning else Level.OK
    return Finding(area, check, level, told, "" if level is Level.OK else remedy)
