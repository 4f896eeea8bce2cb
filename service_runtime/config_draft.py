"""Raw settings from file, environment and command line, and every fault that is in them."""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from re import compile as regex
from typing import Any, ClassVar, NamedTuple

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from service_runtime.config_text import allowed, schema_of, shortened, types_of
from service_runtime.errors import ProcessFailed

COMMON_PREFIX = "CORKBOARD_"
"""Prefix of the variables that set a field of ServiceConfig in all services at once."""

CLIENT_PREFIX = "CORKBOARD_CLIENT_"
"""Prefix of the variables of client and command line, which services leave alone."""

_SERVICE_LINK = regex(
    r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_PROTO|_PORT|_ADDR)?)$"
)


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


class Draft:
    """
    Raw values on their way into a config, each with where it came from.

    Args:
        config_class: What is built in the end.
        prefix: Of the variables that set its fields.
        common_names: Fields that a variable with COMMON_PREFIX sets.
    """

    def __init__(
        self, config_class: type[BaseSettings], prefix: str, common_names: Iterable[str]
    ) -> None:
        self.config_class = config_class
        self.prefix = prefix
        self.common_names = tuple(common_names)
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.faults: list[ConfigFault] = []

    def add_file(self, path: Path | None) -> None:
        """Take the values of a TOML file; None = there is none."""
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
        """Take the values of the variables that are meant for us."""
        common = {COMMON_PREFIX + name.upper(): name for name in self.common_names}
        for variable in sorted(set(environment) - {f"{self.prefix}CONFIG"}):
            text, where = environment[variable], f"environment variable {variable}"
            if variable in common and f"{self.prefix}{common[variable].upper()}" not in environment:
                self._put(common[variable], self._parse(common[variable], text), where)
            elif variable.startswith(COMMON_PREFIX) and self.prefix != COMMON_PREFIX:
                # Others use this prefix too: only what looks like a slip of the pen is a fault.
                is_slip = variable not in common and not variable.startswith(CLIENT_PREFIX)
                close = get_close_matches(variable, [*common], 1, cutoff=0.9)
                if close and is_slip:
                    self._fault(variable, where, "", f"is unknown; did you mean {close[0]}?")
            elif self.prefix and variable.startswith(self.prefix):
                name = variable.removeprefix(self.prefix).lower()
                if not _is_link(variable, text, known=name in self.config_class.model_fields):
                    self._put(name, self._parse(name, text), where)

    def add_overrides(self, overrides: Sequence[str] | Mapping[str, Any]) -> None:
        """Take the values of the command line, or of a caller."""
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

    def finish(self) -> BaseSettings:
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
