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

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from re import compile as regex
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service_runtime.config_text import allowed, schema_of, shortened, toml, types_of
from service_runtime.errors import ProcessFailed

COMMON_PREFIX = "CORKBOARD_"
"""Prefix of the variables that set a field of ServiceConfig in all services at once."""

_SERVICE_LINK = regex(
    r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_PROTO|_PORT|_ADDR)?)$"
)

ConfigT = TypeVar("ConfigT", bound="ServiceConfig")


class ConfigFault(NamedTuple):
    """One thing that is wrong with the settings."""

    field: str
    """Name of the field, or of the unknown key; empty if it is about several fields."""
    where: str
    """Where the value came from, `environment variable PROFILE_SERVICE_PORT`."""
    given: str
    """The value as it was given, shortened; empty if none was."""
    problem: str
    """What is wrong."""
    allowed: str
    """What would be right, `integer, 0 to 65535`; empty if unknown."""

    def __str__(self) -> str:
        """One line: `PROFILE_SERVICE_PORT = '99999': must be … (allowed: …)`."""
        given = f" = {self.given}" if self.given else ""
        allowed = f" (allowed: {self.allowed})" if self.allowed else ""
        return f"{self.where}{given}: {self.problem}{allowed}"


class ConfigError(ProcessFailed):
    """The settings are wrong; lists every fault."""

    HINT = "--print-config shows every setting with its range"
    EXIT_CODE: ClassVar[int] = 2

    def __init__(self, faults: Sequence[ConfigFault]) -> None:
        count = f"{len(faults)} fault{'s' if len(faults) != 1 else ''} in the settings"
        super().__init__("\n  ".join([f"{count}:", *map(str, faults)]))
        self.faults = tuple(faults)

    def __str__(self) -> str:
        """All faults, one a line, then the hint."""
        return f"{self.message}\n{self.hint}"


class ServiceConfig(BaseSettings):
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
    worker_count: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Threads that serve calls; 0 = as many as cores (kernels release the GIL).",
    )
    queue_count_max: int = Field(
        default=128,
        ge=0,
        le=100_000,
        description="Calls that may wait for a worker; one more is refused at once. Guess.",
    )
    request_bytes_max: int = Field(
        default=4 * 1024 * 1024,
        ge=1024,
        le=1024 * 1024 * 1024,
        description="Largest request or answer, bytes. Default: gRPC's own.",
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
        """Threads that serve calls: worker_count, or the cores this process may use."""
        return self.worker_count or core_count()


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
    draft = _Draft(config_class, prefix)
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


class _Draft:
    """Raw values on their way into a config, each with where it came from."""

    def __init__(self, config_class: type[ServiceConfig], prefix: str) -> None:
        self.config_class = config_class
        self.prefix = prefix
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.faults: list[ConfigFault] = []

    def add_file(self, path: Path | None) -> None:
        if path is None:
            return
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            self._fault("", f"file {path}", "", f"cannot be read: {error.strerror or error}")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            self._fault("", f"file {path}", "", f"is not valid TOML: {error}")
        else:
            for key, value in document.items():
                self._put(key, value, f"file {path}, key {key}")

    def add_environment(self, environment: Mapping[str, str]) -> None:
        common = {COMMON_PREFIX + name.upper(): name for name in ServiceConfig.model_fields}
        for variable in sorted(set(environment) - {f"{self.prefix}CONFIG"}):
            text, where = environment[variable], f"environment variable {variable}"
            if variable in common and f"{self.prefix}{common[variable].upper()}" not in environment:
                self._put(common[variable], self._parse(common[variable], text), where)
            elif variable.startswith(COMMON_PREFIX) and self.prefix != COMMON_PREFIX:
                # Others use this prefix too: only what looks like a slip of the pen is a fault.
                close = get_close_matches(variable, [*common], 1, cutoff=0.9)
                if close and variable not in common:
                    self._fault(variable, where, "", f"is unknown; did you mean {close[0]}?")
            elif self.prefix and variable.startswith(self.prefix):
                name = variable.removeprefix(self.prefix).lower()
                if not _is_link(variable, text, known=name in self.config_class.model_fields):
                    self._put(name, self._parse(name, text), where)

    def add_overrides(self, overrides: Sequence[str] | Mapping[str, Any]) -> None:
        if isinstance(overrides, Mapping):
            for name, value in overrides.items():
                self._put(name, value, f"--set {name}")
            return
        for override in overrides:
            name, equals, text = override.partition("=")
            if equals:
                self._put(name.strip(), self._parse(name.strip(), text), f"--set {name.strip()}")
            else:
                self._fault(name, f"--set {override}", "", "must have the form field=value")

    def finish(self) -> ServiceConfig:
        """The config, or ConfigError with everything that is wrong."""
        values = dict(self.values)
        for _ in range(2):  # the second round sees relations between fields, with faulty ones reset
            try:
                config = self.config_class(**values)
            except ValidationError as error:
                faulty = self._add_faults(error)
                values = {name: value for name, value in values.items() if name not in faulty}
                if not faulty:
                    break
            else:
                if not self.faults:
                    return config
                break
        raise ConfigError(self.faults)

    def _put(self, name: str, value: Any, where: str) -> None:
        if name in self.config_class.model_fields:
            self.values[name], self.origins[name] = value, where
            return
        close = get_close_matches(name, [*self.config_class.model_fields], 1)
        self._fault(
            name, where, "", "is unknown" + (f"; did you mean {close[0]}?" if close else "")
        )

    def _parse(self, name: str, text: str) -> Any:
        """A variable's text as pydantic wants it: JSON for lists and tables, the text otherwise."""
        field = self.config_class.model_fields.get(name)
        schema = schema_of(self.config_class, name) if field else {}
        if {"array", "object"} & set(types_of(schema)):
            try:
                return json.loads(text)
            except ValueError:
                if "array" in types_of(schema):
                    return [part.strip() for part in text.split(",") if part.strip()]
        return text

    def _add_faults(self, error: ValidationError) -> set[str]:
        faulty: set[str] = set()
        for detail in error.errors(include_url=False):
            name = str(detail["loc"][0]) if detail["loc"] else ""
            problem = detail["msg"].removeprefix("Value error, ")
            if name:
                faulty.add(name)
                inner = "".join(f"[{part!r}]" for part in detail["loc"][1:])
                where = self.origins.get(name, f"setting {name}") + inner
                self._fault(name, where, shortened(detail["input"]), problem)
            else:
                self._fault("", "settings", "", problem)
        return faulty

    def _fault(self, field: str, where: str, given: str, problem: str) -> None:
        known = field in self.config_class.model_fields
        words = allowed(self.config_class, field) if known else ""
        self.faults.append(ConfigFault(field, where, given, problem, words))


def _is_link(variable: str, text: str, *, known: bool) -> bool:
    """Kubernetes sets such variables for a Service of our name; they are not settings."""
    if known:
        return variable.endswith("_PORT") and text.startswith(("tcp://", "udp://"))
    return bool(_SERVICE_LINK.search(variable))
