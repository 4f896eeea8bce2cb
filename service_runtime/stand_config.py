"""Settings of how a process stands load: what it lets in, how long, and over which connections."""

from pydantic import Field
from pydantic_settings import BaseSettings


class StandConfig(BaseSettings):
    """Settings of limits, which every process has; ServiceConfig derives from it."""

    worker_count: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Threads that serve calls; 0 = as many as cores (kernels release the GIL).",
    )
    processes: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Server processes on the port; from 2 on a supervisor starts them, shares the "
        "cores out among them and starts anew what ends. For cores that Python leaves idle.",
    )
    process_number: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Which of several processes this is, from 1. The supervisor sets it.",
    )
    start_seconds_max: float = Field(
        default=600.0,
        ge=1,
        le=86_400,
        description="With several processes: one that is not ready by then is killed and started "
        "anew. Twice what a cold shared volume takes. Guess.",
    )
    silent_seconds_max: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="With several processes: one that does not answer its supervisor for so long "
        "is killed and started anew; 0 = never (a debugger holds one). Guess.",
    )
    queue_count_max: int = Field(
        default=128,
        ge=0,
        le=100_000,
        description="Calls that may ever wait for a worker; one more is refused at once. Guess.",
    )
    queue_seconds_max: float = Field(
        default=0.1,
        gt=0,
        le=60,
        description="How long nine of ten calls should wait for a worker at most; where they wait "
        "longer fewer are let in. Never more than a quarter of the callers' deadlines. Guess.",
    )
    request_bytes_max: int = Field(
        default=4 * 1024 * 1024,
        ge=1024,
        le=1024 * 1024 * 1024,
        description="Largest request or answer, bytes. Default: gRPC's own.",
    )
    metadata_bytes_max: int = Field(
        default=16 * 1024,
        ge=4096,
        le=1024 * 1024,
        description="Largest metadata of a call, bytes; more is refused. Default: gRPC's own.",
    )
    stream_count_max: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="Calls open at once on one connection; further ones wait at the caller. Guess.",
    )
    connection_age_seconds_max: float = Field(
        default=600.0,
        ge=1,
        le=86_400 * 365,
        description="After so long (10 % more or less) a connection is closed when its calls have "
        "ended, so that callers find new replicas and spread over processes. Guess.",
    )
    deadline_seconds: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="Time budget of a call that comes without a deadline.",
    )
    deadline_seconds_max: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="Longest time budget; longer deadlines are cut to it.",
    )
