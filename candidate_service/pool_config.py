"""Settings of pin2vec and of the prepared pools: fresh, local, popular, declared."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from candidate_service.pin2vec import Pin2VecSettings
from service_runtime.config import ServiceConfig


class PoolConfig(ServiceConfig):
    """The part of the service's settings that the pools' jobs and sources read."""

    # Jobs: train_pin2vec.
    pin2vec_pin_count_max: int = Field(
        200_000,
        ge=1,
        le=100_000_000,
        description="Only so many pins get a vector, the most saved; 4 KiB of file each. Guess.",
    )
    pin2vec_save_count_min: int = Field(
        2, ge=1, le=1_000_000, description="Pins saved more rarely get no vector. Guess."
    )
    pin2vec_dimension: int = Field(128, ge=2, le=4096, description="Length of a vector (Pin2Vec).")
    pin2vec_window_count: int = Field(
        5, ge=1, le=1000, description="Pins of a sequence after a pin that are its labels."
    )
    pin2vec_window_days: float = Field(
        30.0,
        gt=0,
        le=36_500,
        description="Saves further apart in time do not belong together. Guess.",
    )
    pin2vec_is_symmetric: bool = Field(
        False, description="Whether what was saved before a pin is a label too. Measured: no gain."
    )
    pin2vec_negative_count: int = Field(
        10, ge=1, le=1000, description="Noise pins for each pair. Measured; Pin2Vec: 64."
    )
    pin2vec_noise_exponent: float = Field(
        0.75, ge=0, le=2, description="Noise pins are drawn by (saves)**x (word2vec)."
    )
    pin2vec_frequent_share: float = Field(
        1e-3, ge=0, le=1, description="More frequent pins are thinned out; 0 = none (word2vec)."
    )
    pin2vec_epoch_count: int = Field(
        20, ge=1, le=1000, description="Passes over all sequences. Measured."
    )
    pin2vec_rate_first: float = Field(
        0.1, gt=0, le=10, description="Step size at the start. Measured; word2vec: 0.025."
    )
    pin2vec_rate_last: float = Field(0.001, gt=0, le=10, description="Step size at the end.")
    pin2vec_is_elu: bool = Field(
        False, description="Whether the hidden layer is an ELU, as in Pin2Vec; else linear."
    )
    pin2vec_thread_count: int = Field(
        1,
        ge=0,
        le=1024,
        description="Threads that train, 0 = the job's; with more than one bytes differ by run.",
    )
    pin2vec_list_count: int = Field(
        200, ge=1, le=10_000, description="Near and next pins prepared for each, 8 bytes each."
    )
    pin2vec_fade: float = Field(
        0.5, gt=0, le=1, description="Each older save of a session counts so much less. Measured."
    )
    pin2vec_auc_min: float = Field(
        0.5, ge=0, le=1, description="Least held_out_auc of a published generation; 0.5 = chance."
    )

    # Jobs: build_popular; source: local.
    local_segment_attribute: str = Field(
        "",
        max_length=64,
        description="Attribute of pins that names their segment, such as audience; empty = none.",
    )
    local_relatedness: float = Field(
        0.8,
        ge=0,
        le=1,
        description="Share of nearness to the query pins in the order of local pins. Guess.",
    )

    # Jobs: build_fresh; source: fresh.
    fresh_age_days: float = Field(
        7.0, gt=0, le=3650, description="Older pins are not fresh (Related Pins: 7)."
    )
    fresh_pin_count_max: int = Field(
        20_000, ge=1, le=1_000_000, description="Pins of the fresh pools, the newest. Guess."
    )
    fresh_history_days: float = Field(
        90.0,
        gt=0,
        le=36_500,
        description="Pins made within so many days tell what to expect at which age. Guess.",
    )
    fresh_prior: float = Field(
        2.0,
        gt=0,
        le=1e6,
        description="Praise added to what came and to what was expected, as smoothing. Guess.",
    )
    fresh_half_life_days: float = Field(
        2.0, gt=0, le=3650, description="In the quality pool a pin this old counts half. Guess."
    )
    fresh_quality_min: float = Field(
        0.0, ge=0, le=1, description="Pins of less quality are not fresh; of unknown quality are."
    )
    fresh_quality_unknown: float = Field(
        0.5, ge=0, le=1, description="What counts as the quality of a pin that has none. Guess."
    )
    # Sources: fresh, local, popular.
    pool_refresh_seconds: float = Field(
        0.2, ge=0, le=60, description="Live changes show in the pools after so long. Guess."
    )

    # Source: declared.
    declared_pin_count: int = Field(
        10, ge=1, le=100, description="Declared pins that one question starts from, drawn by seed."
    )

    @model_validator(mode="after")
    def _rates_fall(self) -> PoolConfig:
        if self.pin2vec_rate_last > self.pin2vec_rate_first:
            raise ValueError(
                f"pin2vec_rate_last ({self.pin2vec_rate_last:g}) must not be above "
                f"pin2vec_rate_first ({self.pin2vec_rate_first:g})"
            )
        return self

    def pin2vec_settings(self) -> Pin2VecSettings:
        """Return how pin2vec learns."""
        days = self.pin2vec_window_days
        return Pin2VecSettings(
            dimension=self.pin2vec_dimension,
            window_count=self.pin2vec_window_count,
            window_s=math.inf if days >= 36_500 else days * 86_400.0,
            is_symmetric=self.pin2vec_is_symmetric,
            negative_count=self.pin2vec_negative_count,
            noise_exponent=self.pin2vec_noise_exponent,
            frequent_share=self.pin2vec_frequent_share,
            epoch_count=self.pin2vec_epoch_count,
            rate_first=self.pin2vec_rate_first,
            rate_last=self.pin2vec_rate_last,
            is_elu=self.pin2vec_is_elu,
            thread_count=self.pin2vec_thread_count,
        )
