"""Settings of what is made of the pin-board graph: pruning, walks, co-occurrence."""

from __future__ import annotations

from pydantic import Field, model_validator

from candidate_service.cooccurrence import CooccurrenceSettings
from candidate_service.graph_pruning import PruneSettings
from candidate_service.walk import PixieSettings
from service_runtime.config import ServiceConfig


class GraphConfig(ServiceConfig):
    """The part of the service's settings that the graph's jobs and sources read."""

    # Jobs: build_graph.
    graph_board_pin_count_min: int = Field(
        2, ge=1, le=1000, description="Boards with fewer pins are left out: they lead nowhere."
    )
    graph_board_pin_count_max: int = Field(
        10_000, ge=2, le=10_000_000, description="Of a larger board a sample is kept. Guess."
    )
    graph_board_entropy_max: float = Field(
        64.0,
        ge=0,
        le=64,
        description="Boards whose topics have more bits of entropy are left out; 64 = none.",
    )
    graph_topic_count_max: int = Field(
        200,
        ge=0,
        le=10_000,
        description="The most frequent topics count in graph and walk, the others not. Guess.",
    )
    graph_degree_exponent: float = Field(
        1.0,
        gt=0,
        le=1,
        description="A pin on d boards keeps the d**x closest by topic; 1 = all. Pixie: 0.91.",
    )
    graph_bare_degree_exponent: float = Field(
        1.0,
        gt=0,
        le=1,
        description="A pin without topics keeps the d**x smallest; 1 = all. OmniSage: 0.86.",
    )
    graph_degree_kept_min: int = Field(
        10, ge=1, le=1_000_000, description="A pin keeps at least so many boards (OmniSage)."
    )
    graph_degree_kept_max: int = Field(
        10_000, ge=1, le=10_000_000, description="A pin keeps at most so many boards (OmniSage)."
    )

    # Jobs: build_board_cooccurrence.
    cooccurrence_neighbour_count: int = Field(
        1000, ge=1, le=10_000, description="Neighbours kept for each pin, 8 bytes each. Measured."
    )
    cooccurrence_exact_pair_count_max: int = Field(
        2_000_000_000,
        ge=0,
        description="With at most so many pairs on common boards all are counted; else sampled.",
    )
    cooccurrence_pair_count: int = Field(
        2000, ge=10, le=1_000_000, description="Pairs sampled for each pin, about. Measured."
    )
    cooccurrence_text_weight: float = Field(
        0.5,
        ge=0,
        le=100,
        description="How much agreement in words counts beside co-occurrence (1). Guess.",
    )
    cooccurrence_topic_weight: float = Field(
        0.5,
        ge=0,
        le=100,
        description="How much agreement in topics counts beside co-occurrence (1). Guess.",
    )

    # Source: pixie.
    graph_in_memory: bool = Field(
        default=True,
        description="Copy the graph into memory at start: faster walks than on the mapped file.",
    )
    pixie_step_count: int = Field(
        100_000, ge=1000, le=2_000_000, description="Steps of all walks of a query (N). Measured."
    )
    pixie_restart: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Chance of going back after a step, with one query pin (alpha). Measured.",
    )
    pixie_early_stop_pin_count: int = Field(
        1000, ge=1, le=10_000_000, description="A query pin's walk ends when so many pins (n_p) …"
    )
    pixie_early_stop_visit_count: int = Field(
        4,
        ge=0,
        le=1_000_000,
        description="… were seen so often (n_v; Pixie: 2000 and 4); 0 = never.",
    )
    pixie_bias: float = Field(
        0.9, ge=0, le=1, description="Chance that a hop keeps to the viewer's language. Guess."
    )
    pixie_topic_bias: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Chance that such a hop keeps to the query pin's topic; above 0 from the next "
        "graph on, which then knows topics.",
    )
    pixie_popularity_exponent: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Visits are divided by (boards of the pin)**(x - x/query pins). Measured.",
    )
    pixie_boost: bool = Field(
        default=False,
        description="Favour pins that several query pins lead to (Eq. 3). Measured: no gain.",
    )

    query_half_life_days: float = Field(
        30.0,
        gt=0,
        le=36_500,
        description="A query pin whose action is this old counts half. Measured.",
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> GraphConfig:
        for low, high in (
            ("graph_board_pin_count_min", "graph_board_pin_count_max"),
            ("graph_degree_kept_min", "graph_degree_kept_max"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(
                    f"{low} ({getattr(self, low)}) must not be above {high} ({getattr(self, high)})"
                )
        return self

    def prune_settings(self) -> PruneSettings:
        """Return which edges of the graph are worth keeping."""
        return PruneSettings(
            board_pin_count_min=self.graph_board_pin_count_min,
            board_pin_count_max=self.graph_board_pin_count_max,
            board_entropy_max=self.graph_board_entropy_max,
            degree_exponent=self.graph_degree_exponent,
            bare_degree_exponent=self.graph_bare_degree_exponent,
            degree_kept_min=self.graph_degree_kept_min,
            degree_kept_max=self.graph_degree_kept_max,
        )

    def cooccurrence_settings(self) -> CooccurrenceSettings:
        """Return how neighbours are found and how many are kept."""
        return CooccurrenceSettings(
            neighbour_count=self.cooccurrence_neighbour_count,
            exact_pair_count_max=self.cooccurrence_exact_pair_count_max,
            pair_count=self.cooccurrence_pair_count,
        )

    def pixie_settings(self) -> PixieSettings:
        """Return how far and how the source walks."""
        return PixieSettings(
            step_count=self.pixie_step_count,
            restart=self.pixie_restart,
            early_stop_pin_count=self.pixie_early_stop_pin_count,
            early_stop_visit_count=self.pixie_early_stop_visit_count,
            bias=self.pixie_bias,
            topic_bias=self.pixie_topic_bias,
            popularity_exponent=self.pixie_popularity_exponent,
            boost=self.pixie_boost,
        )
