"""Settings of the graph fit each other and reach those who use them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from candidate_service.cooccurrence import CooccurrenceSettings
from candidate_service.graph_config import GraphConfig
from candidate_service.graph_pruning import PruneSettings
from candidate_service.walk import PixieSettings


class Config(GraphConfig):
    """A service's settings."""

    port: int = 0
    metrics_port: int = 0


def test_defaults_are_those_of_the_values() -> None:
    """What a job or source assumes when told nothing is what the settings say."""
    config = Config()

    assert PruneSettings() == config.prune_settings()
    assert CooccurrenceSettings() == config.cooccurrence_settings()
    assert PixieSettings() == config.pixie_settings()


def test_every_setting_reaches_its_user() -> None:
    """A changed setting arrives under its own name."""
    config = Config(
        graph_degree_exponent=0.9,
        cooccurrence_pair_count=77,
        pixie_restart=0.25,
        pixie_boost=True,
    )

    assert config.prune_settings().degree_exponent == 0.9
    assert config.cooccurrence_settings().pair_count == 77
    assert config.pixie_settings().restart == 0.25
    assert config.pixie_settings().boost


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("graph_board_pin_count_min", "graph_board_pin_count_max"),
        ("graph_degree_kept_min", "graph_degree_kept_max"),
    ],
)
def test_bounds_must_be_in_order(low: str, high: str) -> None:
    """A minimum above its maximum is refused, naming both."""
    with pytest.raises(ValidationError, match=f"{low}.*{high}"):
        Config.model_validate({low: 900, high: 50})
