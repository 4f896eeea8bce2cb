"""
Settings: TOML file < environment < command line, into one frozen, validated object.

A service derives from ServiceConfig, adds fields, and names its variables' prefix:

    class ProfileConfig(ServiceConfig):
        model_config = SettingsConfigDict(env_prefix="PROFILE_SERVICE_")
        window_days: int = Field(default=90, ge=1, le=3650, description="Days looked back. Guess.")

Names are derived, never typed twice: the field `window_days` is `window_days = 90` in the file,
`PROFILE_SERVICE_WINDOW_DAYS` in the environment and `--set window_days=90` on the command line.
Relations between fields are ordinary pydantic model validators that raise ValueError.
All faults are reported at once. Constructing a config directly reads no file and no environment.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service_runtime.config_draft import Draft
from service_runtime.config_text import allowed, toml
from service_runtime.sight_config import SightConfig
from service_runtime.stand_config import StandConfig
from service_runtime.storage_config import StorageConfig

ConfigT = TypeVar("ConfigT", bound="ServiceConfig")


class ServiceConfig(StandConfig, SightConfig, StorageConfig):
    """The settings that every process of ours has."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    data_root: Path = Field(
        default=Path("corkboard-data"),
        description="Folder of logs, catalogue, live state and generations.",
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        max_length=253,
        description="Address to listen on; 0.0.0.0 for all. Default: this machine only.",
    )
    port: int = Field(
        default=0, ge=0, le=65535, description="TCP port to listen on; 0 = any free one."
    )
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="TCP port of the Prometheus page; 0 = no page."
    )
    health_port: int = Field(
        default=0, ge=0, le=65535, description="Plain port with nothing but health; 0 = none."
    )
    drain_wait_seconds: float = Field(
        default=0.5,
        ge=0,
        le=300,
        description="After SIGTERM, time for load balancers to see NOT_SERVING before calls end.",
    )
    drain_seconds: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="After that wait, time for running calls to finish.",
    )
    reuse_port: bool = Field(
        default=False,
        description="Let several processes listen on one port; a taken port is then no error.",
    )
    generation_poll_seconds: float = Field(
        default=2.0,
        gt=0,
        le=3600,
        description="How often to look for a newly published generation.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least serious log lines that are written."
    )
    fixed_time: float = Field(
        default=0.0,
        ge=0,
        description="Unix seconds at which the clock stands still (replays); 0 = runs.",
    )

    # Who is let in, and as whom we call. All files are read again when they change.
    tls_certificate_file: Path | None = Field(
        default=None, description="Our certificate chain, PEM; unset = no encryption of our own."
    )
    tls_key_file: Path | None = Field(default=None, description="Its private key, PEM.")
    tls_client_ca_file: Path | None = Field(
        default=None, description="Authorities, PEM; callers must show a certificate by one."
    )
    tls_ca_file: Path | None = Field(
        default=None, description="Authorities of the services we call, PEM; unset = call plain."
    )
    token_file: Path | None = Field(
        default=None, description="Token that we show to the services that we call."
    )
    access_file: Path | None = Field(
        default=None, description="Who may call what (docs/security.md); unset = everybody."
    )

    @model_validator(mode="after")
    def _certificates_complete(self) -> "ServiceConfig":
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file need each other")
        if self.tls_client_ca_file is not None and self.tls_certificate_file is None:
            raise ValueError("tls_client_ca_file needs tls_certificate_file")
        return self

    @model_validator(mode="after")
    def _deadline_below_its_maximum(self) -> "ServiceConfig":
        if self.deadline_seconds > self.deadline_seconds_max:
            raise ValueError(
                f"deadline_seconds ({self.deadline_seconds:g}) must not be above "
                f"deadline_seconds_max ({self.deadline_seconds_max:g})"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  signature of pydantic-settings
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: reading file and environment is load_config's work."""
        return (init_settings,)

    def workers(self) -> int:
        """Threads that serve calls: worker_count, or this process's share of the cores."""
        return self.worker_count or self.cores()

    def cores(self) -> int:
        """Cores that this process should count with, >= 1: its share, if it is one of several."""
        return -(-core_count() // self.processes)

    def own_name(self, name: str) -> str:
        """A name of the process itself, for what two processes on one port must not share."""
        return name if self.process_number <= 1 else f"{name}-{self.process_number}"


def core_count() -> int:
    """Cores this process may use, >= 1: its affinity, cut down to its container's CPU quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(affinity or 1, _cgroup_cores()))


def _cgroup_cores(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Whole cores of the CPU quota (rounded up); a large number where there is none."""
    unlimited = 1 << 20
    try:
        if (root / "cpu.max").exists():
            quota, period = (root / "cpu.max").read_text().split()
        else:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        return -(-int(quota) // int(period)) if int(quota) > 0 else unlimited
    except (OSError, ValueError, ZeroDivisionError):
        return unlimited  # no quota: the file is absent or says "max"


def load_config(
    config_class: type[ConfigT],
    *,
    path: Path | None = None,
    env_prefix: str = "",
    overrides: Sequence[str] | Mapping[str, Any] = (),
    environment: Mapping[str, str] | None = None,
) -> ConfigT:
    """
    Read the settings of a service from all their places.

    Args:
        config_class: What to build.
        path: TOML file; None = the file that `<PREFIX>CONFIG` names, or none at all.
        env_prefix: Prefix of the variables; empty = the class's own `model_config["env_prefix"]`.
        overrides: From the command line, `field=value` strings or a mapping; strongest.
        environment: Variables to look at; None = this process's.

    Raises:
        ConfigError: Anything is wrong; carries all faults.
    """
    environment = os.environ if environment is None else environment
    prefix = env_prefix or str(config_class.model_config.get("env_prefix", ""))
    draft = Draft(config_class, prefix, ServiceConfig.model_fields)
    path = path or (
        Path(environment[f"{prefix}CONFIG"]) if f"{prefix}CONFIG" in environment else None
    )
    draft.add_file(path)
    draft.add_environment(environment)
    draft.add_overrides(overrides)
    return draft.finish()  # type: ignore[return-value]  # config_class is a ConfigT


def print_config(config: ServiceConfig, *, env_prefix: str = "") -> str:
    """The settings as commented TOML that load_config reads back."""
    config_class = type(config)
    prefix = env_prefix or str(config_class.model_config.get("env_prefix", ""))
    lines: list[str] = []
    for name, field in config_class.model_fields.items():
        value = getattr(config, name)
        lines += [f"# {line}" for line in (field.description or name).splitlines()]
        lines.append(f"# {allowed(config_class, name)}; default {toml(field.get_default())}")
        if prefix:
            lines.append(f"# environment: {prefix}{name.upper()}")
        lines += [f"# {name} =" if value is None else f"{name} = {toml(value)}", ""]
    return "\n".join(lines)
