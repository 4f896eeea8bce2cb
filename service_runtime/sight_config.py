"""Settings of what is seen of a process from outside: its log lines and its traces."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings


class SightConfig(BaseSettings):
    """Settings of log and traces, which every process has; ServiceConfig derives from it."""

    log_lines_per_second_max: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="Lines a second for calls of one method and outcome; beyond, every 100th. "
        "Guess.",
    )
    log_key_file: Path | None = Field(
        default=None,
        description="File of a key for hashes of people in log and audit, 16 bytes or more, the "
        "same for all services; unset = whoever knows an id can compute its hash.",
    )
    trace_endpoint: str = Field(
        default="",
        max_length=500,
        description="Collector that spans go to by OTLP over gRPC, http://host:4317 (https: with "
        "TLS); empty = none. Needs the extra corkboard[tracing].",
    )
    trace_share: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of the calls without a caller's trace that begin one; a caller's own "
        "decision is kept. Guess.",
    )

    @field_validator("trace_endpoint")
    @classmethod
    def _is_address(cls, endpoint: str) -> str:
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://, as in http://collector:4317")
        return endpoint
