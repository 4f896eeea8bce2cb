"""Every setting of profile_service and of its jobs."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from profile_service.online import Rules
from service_runtime.config import ServiceConfig

GIB = 1 << 30


class ProfileConfig(ServiceConfig):
    """Settings of the service and of the jobs that build what it serves."""

    model_config = SettingsConfigDict(env_prefix="PROFILE_SERVICE_", frozen=True, extra="forbid")

    port: int = Field(50051, ge=0, le=65535, description="TCP port to listen on; 0 = any free one.")
    metrics_port: int = Field(
        9101, ge=0, le=65535, description="TCP port of the Prometheus page; 0 = no page."
    )
    request_bytes_max: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        le=1024 * 1024 * 1024,
        description="Largest request or answer, bytes. 10,000 actions with long ids need 6 MB.",
    )

    # Clustering: the batch job and the service must agree, so both read these.
    alpha: float = Field(
        1.0,
        gt=0,
        le=4,
        description="Greatest squared Ward height within a cluster; at 2 strangers merge. README.",
    )
    decay_per_day: float = Field(
        0.01, ge=0, le=10, description="Lambda of importance, per day (PinnerSage: 0.01)."
    )
    window_days: float = Field(
        90.0,
        ge=1,
        le=3650,
        description="Older actions form no interests, days (PinnerSage: 60 to 90).",
    )
    cluster_action_count_max: int = Field(
        3000,
        ge=20,
        le=20_000,
        description="Newest actions of a user that are clustered; memory is 8 bytes x its square.",
    )
    history_action_count_max: int = Field(
        10_000,
        ge=100,
        le=100_000,
        description="Newest actions of a user, of all times, that a generation keeps.",
    )

    # Reading.
    online_action_count_max: int = Field(
        1000,
        ge=20,
        le=10_000,
        description="Newest actions since the batch run that a read folds in (PinnerSage: 20).",
    )
    declared_evidence_half: float = Field(
        3.0,
        gt=0,
        le=1000,
        description="Acted-on importance at which declared interests count half. Guess.",
    )
    cluster_count_default: int = Field(
        200, ge=1, le=1000, description="Clusters returned if the request does not say. Guess."
    )
    listed_action_count_default: int = Field(
        100, ge=1, le=10_000, description="Actions listed if the request does not say."
    )

    # Writing.
    live_map_bytes: int = Field(
        64 * GIB,
        ge=1 << 20,
        le=16 * 1024 * GIB,
        description="Most the live action log can hold, bytes; address space, disk only as used.",
    )
    sync_delay_seconds: float = Field(
        0.0, ge=0, le=1, description="Added to each commit: a slow disk for benchmarks and tests."
    )
    export_every_seconds: float = Field(
        0.0,
        ge=0,
        le=86_400,
        description="How often the service exports actions and users itself; 0 = the job does.",
    )
    future_seconds_max: float = Field(
        300.0, ge=0, le=86_400, description="How far ahead of our clock an action's time may be."
    )

    def rules(self) -> Rules:
        """The constants of a profile."""
        return Rules(
            alpha=self.alpha,
            decay_per_day=self.decay_per_day,
            window_days=self.window_days,
            cluster_action_count_max=self.cluster_action_count_max,
            declared_evidence_half=self.declared_evidence_half,
        )
