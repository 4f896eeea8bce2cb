"""The settings and what they must not contradict."""

from typing import Any

import pytest
from pydantic import ValidationError

from ranking_service.config import RankingConfig


def test_the_defaults_are_sound() -> None:
    """A service without any setting starts."""
    config = RankingConfig()

    assert (config.port, config.limit_default, config.limit_max) == (50053, 25, 500)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"limit_default": 50, "limit_max": 20}, "limit_default"),
        ({"profile_budget_ms": 9000, "candidate_budget_ms": 9000}, "deadline_seconds"),
        ({"impression_log_name": "../elsewhere"}, "impression_log_name"),
        ({"leaf_count_max": 65}, "leaf_count_max"),
        ({"limit_max": 501}, "limit_max"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_settings_that_contradict_are_refused(settings: Any, named: Any) -> None:
    """The fault names the setting."""
    with pytest.raises(ValidationError, match=named):
        RankingConfig(**settings)
