"""Every setting of candidate_service and of its jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from candidate_service.content_config import ContentConfig
from candidate_service.graph_config import GraphConfig
from candidate_service.pool_config import PoolConfig
from candidate_service.source_registry import BUILT_IN, CANDIDATE_COUNT_MAX, source_names


class CandidateConfig(GraphConfig, PoolConfig, ContentConfig):
    """Settings of the service and of the jobs that build what it serves."""

    model_config = SettingsConfigDict(env_prefix="CANDIDATE_SERVICE_", frozen=True, extra="forbid")

    port: int = Field(50052, ge=0, le=65535, description="TCP port to listen on; 0 = any free one.")
    metrics_port: int = Field(
        9102, ge=0, le=65535, description="TCP port of the Prometheus page; 0 = no page."
    )

    # Retrieval.
    sources: tuple[str, ...] = Field(
        tuple(BUILT_IN),
        description="Candidate sources that may be asked, in the order of the answer.",
    )
    candidate_counts: dict[str, int] = Field(
        default_factory=dict,
        description='Quotas by source, 1 to 2000, as {"ann": 200}; else the source\'s own.',
    )
    retrieval_deadline_ms: float = Field(
        250.0,
        gt=0,
        le=60_000,
        description="Time for all sources together; a shorter deadline of the call wins. Guess.",
    )
    source_grace_ms: float = Field(
        10.0,
        ge=0,
        le=1000,
        description="How long after that a source may hand in what it has. Guess.",
    )
    source_thread_count: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads that ask sources; 0 = cores + 2. Kernels release the GIL.",
    )
    source_stuck_count_max: int = Field(
        2,
        ge=1,
        le=256,
        description="A source with so many late calls that have not come back is not asked.",
    )
    medoid_sample_count: int = Field(
        3, ge=1, le=50, description="Medoids sampled by importance (e; PinnerSage: 3)."
    )
    ann_cached_answer_count: int = Field(
        10_000,
        ge=0,
        le=10_000_000,
        description="Neighbour lists of pins kept in memory, about 3 KB each; 0 = none. Guess.",
    )

    ann_recall_sample_every: int = Field(
        1000,
        ge=0,
        le=1_000_000_000,
        description="One answer of ann in so many is compared with exact search; 0 = none. Guess.",
    )
    medoid_count_max: int = Field(
        100, ge=1, le=1000, description="Medoids queried where all are asked for. Guess."
    )
    source_deadline_shares: dict[str, float] = Field(
        default_factory=dict,
        description='Share of a call\'s time by source, in (0, 1], as {"pixie": 0.8}; else 1.',
    )
    filters: dict[str, str] = Field(
        default_factory=dict,
        description="Filters that requests may name, by name (docs/filters.md).",
    )
    filter_cached_mask_count: int = Field(
        64, ge=1, le=10_000, description="Filters whose masks are kept, a byte a pin each. Guess."
    )

    # Live changes.
    live_log_name: str = Field(
        "",
        max_length=64,
        pattern=r"^[A-Za-z0-9_.-]*$",
        description="Folder of this process's log below live/catalogue; empty = the first of 0, 1, "
        "2, ... that no other process writes (needs a file system with locks).",
    )
    live_poll_ms: float = Field(
        200.0,
        gt=0,
        le=60_000,
        description="How often changes made through other processes are looked for. Guess.",
    )
    live_future_seconds_max: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="Times of pins and saves may be so far ahead of the clock. As for imports.",
    )

    # Jobs: learn_vectors.
    vector_dimension: int = Field(
        128, ge=2, le=4096, description="Length of learned vectors. Measured: 64 is 1-2 % worse."
    )
    vector_iteration_count: int = Field(
        6, ge=1, le=100, description="Subspace iterations of the factorisation. Measured: 4 do."
    )

    # Jobs: build_vector_index.
    index_connectivity: int = Field(
        16, ge=4, le=128, description="Links of a node in the graph (M). Measured."
    )
    index_expansion_add: int = Field(
        128, ge=128, le=4096, description="Effort of placing a row; less breaks clustered data."
    )
    index_recall_min: float = Field(
        0.95, gt=0, le=1, description="Least recall@100 of a published index."
    )
    index_recall_target: float = Field(
        0.96, gt=0, le=1, description="The search effort is the least that reaches it."
    )
    index_exact_count_max: int = Field(
        10_000,
        ge=0,
        le=10_000_000,
        description="With at most so many vectors a scan answers and no graph is built. Measured.",
    )
    index_quality_min: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Pins known to be of lower quality are not searched; 0 = all are.",
    )
    index_number_type: Literal["bf16", "f16", "f32", "i8"] = Field(
        "bf16", description="How the graph keeps numbers. Measured: bf16."
    )
    index_thread_count: int = Field(
        1,
        ge=1,
        le=1024,
        description="Threads that build the graph; with more than one the bytes differ by run.",
    )

    # Jobs: build_popular.
    popular_window_days: float = Field(
        90.0, gt=0, le=36_500, description="Older actions do not make a pin popular. Guess."
    )
    popular_half_life_days: float = Field(
        14.0, gt=0, le=36_500, description="An action this old counts half. Guess."
    )
    popular_list_count: int = Field(
        2500, ge=1, le=100_000, description="Pins in each prepared list; above the largest quota."
    )
    popular_segment_pin_count_min: int = Field(
        20, ge=1, le=1_000_000, description="A language or country with fewer pins has no list."
    )
    statistics_decay_per_day: float = Field(
        0.01, ge=0, le=10, description="Decay of the counts ranking uses (PinnerSage's lambda)."
    )

    @field_validator("sources")
    @classmethod
    def _sources_known_and_once(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_unknown(sources)
        if len(set(sources)) != len(sources):
            raise ValueError("a source is named twice")
        return sources

    @field_validator("candidate_counts")
    @classmethod
    def _counts_in_range(cls, counts: dict[str, int]) -> dict[str, int]:
        _refuse_unknown(counts)
        for name, count in counts.items():
            if not 1 <= count <= CANDIDATE_COUNT_MAX:
                raise ValueError(f"{name}: {count} is not in 1 to {CANDIDATE_COUNT_MAX}")
        return counts

    @field_validator("source_deadline_shares")
    @classmethod
    def _shares_in_range(cls, shares: dict[str, float]) -> dict[str, float]:
        _refuse_unknown(shares)
        for name, share in shares.items():
            if not 0 < share <= 1:
                raise ValueError(f"{name}: {share:g} is not above 0 and up to 1")
        return shares

    @field_validator("filters")
    @classmethod
    def _filters_can_be_read(cls, filters: dict[str, str]) -> dict[str, str]:
        from candidate_service.filter_language import FilterInvalid, parse

        for name, text in filters.items():
            try:
                parse(text, field=name)
            except FilterInvalid as fault:
                raise ValueError(str(fault)) from None
        return filters

    @model_validator(mode="after")
    def _recall_target_not_below_its_minimum(self) -> CandidateConfig:
        if self.index_recall_target < self.index_recall_min:
            raise ValueError(
                f"index_recall_target ({self.index_recall_target:g}) must not be below "
                f"index_recall_min ({self.index_recall_min:g})"
            )
        return self


def _refuse_unknown(names: Iterable[str]) -> None:
    known = source_names()
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
