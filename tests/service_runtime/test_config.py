"""Settings from file, environment and command line."""

import json
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import SettingsConfigDict

from service_runtime import config as config_module
from service_runtime.config import (
    ServiceConfig,
    core_count,
    load_config,
    print_config,
)
from service_runtime.config_draft import ConfigError


class ShelfConfig(ServiceConfig):
    """Settings with one field of each kind."""

    model_config = SettingsConfigDict(env_prefix="SHELF_SERVICE_")

    shelf_count: int = Field(default=3, ge=1, le=99, description="Shelves. Guess.")
    decay_per_day: float = Field(default=0.01, ge=0, lt=1, description="Decay.\nFrom the paper.")
    is_open: bool = Field(default=True, description="Whether anybody may come in.")
    label: str = Field(default="shelf", min_length=1, max_length=40, description="What it says.")
    sources: tuple[str, ...] = Field(default=("near", "far"), description="Where from.")
    quotas: dict[str, int] = Field(default={"near": 2}, description="How many from each.")
    ceiling: int | None = Field(default=None, ge=1, description="None = no ceiling.")
    order: Literal["up", "down"] = Field(default="up", description="Direction.")

    @model_validator(mode="after")
    def _ceiling_above_count(self) -> Self:
        if self.ceiling is not None and self.ceiling < self.shelf_count:
            raise ValueError("ceiling must not be below shelf_count")
        return self


def load(
    environment: dict[str, str] | None = None,
    *,
    text: str = "",
    folder: Path | None = None,
    **more: Any,
) -> ShelfConfig:
    """Load from an environment and the text of a file (which needs a folder)."""
    path = None
    if folder is not None:
        path = folder / "shelf.toml"
        path.write_text(text)
    return load_config(ShelfConfig, path=path, environment=environment or {}, **more)


def faults(*arguments: Any, **named: Any) -> list[str]:
    """The faults that loading finds, as lines."""
    with pytest.raises(ConfigError) as caught:
        load(*arguments, **named)
    return [str(fault) for fault in caught.value.faults]


def test_defaults_are_valid() -> None:
    """Without file and environment everything has a value within its range."""
    assert load() == ShelfConfig()


def test_later_places_win(tmp_path: Path) -> None:
    """File < environment < command line, field by field."""
    text = 'label = "file"\nshelf_count = 5\nport = 1\n'
    environment = {"SHELF_SERVICE_LABEL": "environment", "SHELF_SERVICE_PORT": "2"}

    config = load(environment, text=text, folder=tmp_path, overrides=["port=3"])

    assert (config.shelf_count, config.label, config.port) == (5, "environment", 3)


def test_own_variable_wins_over_the_shared_one() -> None:
    """CORKBOARD_ variables set a field of all services; a service's own is stronger."""
    shared = {"CORKBOARD_DATA_ROOT": "/all", "CORKBOARD_LOG_LEVEL": "debug"}

    config = load(shared | {"SHELF_SERVICE_DATA_ROOT": "/mine"})

    assert (config.data_root, config.log_level) == (Path("/mine"), "debug")


def test_lists_and_tables_come_as_json_or_with_commas() -> None:
    """A variable can hold every kind of value."""
    assert load({"SHELF_SERVICE_SOURCES": "a, b"}).sources == ("a", "b")
    assert load({"SHELF_SERVICE_SOURCES": '["a", "b"]'}).sources == ("a", "b")
    assert load({"SHELF_SERVICE_QUOTAS": '{"a": 1}'}).quotas == {"a": 1}


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    """One look shows everything that is wrong, wherever it stands."""
    text = 'label = ""\nshelfcount = 1\n'
    environment = {"SHELF_SERVICE_PORT": "99999", "SHELF_SERVICE_IS_OPNE": "yes"}

    found = faults(environment, text=text, folder=tmp_path, overrides=["order=left", "nonsense"])

    assert len(found) == 6
    expected = ("SHELF_SERVICE_PORT", "IS_OPNE", "key label", "key shelfcount", "order", "nonsense")
    assert all(any(name in line for line in found) for name in expected), found


def test_fault_names_variable_value_and_range() -> None:
    """A fault says where the value came from, what it was and what is allowed."""
    (fault,) = faults({"SHELF_SERVICE_PORT": "99999"})

    assert fault.startswith("environment variable SHELF_SERVICE_PORT = '99999': ")
    assert fault.endswith("(allowed: integer, 0 to 65535)")


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("SHELF_COUNT", "many", "integer, 1 to 99"),
        ("DECAY_PER_DAY", "1", "number, 0 to below 1"),
        ("IS_OPEN", "maybe", "boolean"),
        ("LABEL", "", "string, 1 to 40 characters"),
        ("CEILING", "0", "integer or null, 1 or more"),
        ("ORDER", "left", "one of up, down"),
        ("DEADLINE_SECONDS", "nan", "number, above 0 to 3600"),
    ],
)
def test_range_is_told_in_words(name: str, text: str, allowed: str) -> None:
    """Every kind of range has its wording."""
    (fault, *_) = faults({f"SHELF_SERVICE_{name}": text})

    assert f"(allowed: {allowed}" in fault


def test_relation_between_fields_is_reported_with_the_rest() -> None:
    """A broken relation shows beside a field out of range, not after that is mended."""
    environment = {
        "SHELF_SERVICE_CEILING": "2",
        "SHELF_SERVICE_SHELF_COUNT": "7",
        "SHELF_SERVICE_PORT": "-1",
    }

    found = faults(environment)

    assert len(found) == 2
    assert found[1] == "settings: ceiling must not be below shelf_count"


def test_relation_of_the_shared_fields_is_checked() -> None:
    """A default deadline above the longest one makes no sense."""
    (fault,) = faults({"CORKBOARD_DEADLINE_SECONDS": "100"})

    assert "deadline_seconds (100) must not be above deadline_seconds_max (60)" in fault


def test_slip_of_the_pen_gets_a_suggestion() -> None:
    """An unknown variable with our prefix is a fault and shows the nearest name."""
    assert "did you mean shelf_count?" in faults({"SHELF_SERVICE_SHELF_COUNTS": "1"})[0]
    assert "did you mean CORKBOARD_DATA_ROOT?" in faults({"CORKBOARD_DATA_ROT": "/x"})[0]


def test_foreign_variables_are_left_alone() -> None:
    """Other programs' variables are no faults, nor what Kubernetes sets for a Service of ours."""
    links = {
        "SHELF_SERVICE_SERVICE_HOST": "10.0.0.1",
        "SHELF_SERVICE_SERVICE_PORT": "50051",
        "SHELF_SERVICE_SERVICE_PORT_GRPC": "50051",
        "SHELF_SERVICE_PORT": "tcp://10.0.0.1:50051",
        "SHELF_SERVICE_PORT_50051_TCP": "tcp://10.0.0.1:50051",
        "SHELF_SERVICE_PORT_50051_TCP_ADDR": "10.0.0.1",
    }

    others = {
        "PATH": "/bin",
        "CORKBOARD_COLOR": "never",
        "CORKBOARD_CLIENT_CA_FILE": "ca.crt",  # much like CORKBOARD_TLS_CLIENT_CA_FILE
    }
    assert load(links | others) == ShelfConfig()


@pytest.mark.parametrize(
    ("text", "problem"),
    [("port = ", "is not valid TOML"), ("\udcff", "is not valid TOML"), ("[port]\nx = 1", "port")],
)
def test_bad_file_is_a_fault(tmp_path: Path, text: str, problem: str) -> None:
    """A file that cannot be understood is told as such, beside the other faults."""
    path = tmp_path / "bad.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(ConfigError, match=problem) as caught:
        load_config(ShelfConfig, path=path, environment={"SHELF_SERVICE_LABEL": ""})

    assert len(caught.value.faults) == 2


def test_missing_file_is_a_fault(tmp_path: Path) -> None:
    """A file that was named must be there."""
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        load_config(ShelfConfig, path=tmp_path / "nowhere.toml", environment={})


def test_file_can_be_named_by_a_variable(tmp_path: Path) -> None:
    """<PREFIX>CONFIG stands in for --config."""
    path = tmp_path / "shelf.toml"
    path.write_text("shelf_count = 8")

    config = load_config(ShelfConfig, environment={"SHELF_SERVICE_CONFIG": str(path)})

    assert config.shelf_count == 8


def test_constructing_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A config made in code has only what the code says; it cannot be changed afterwards."""
    monkeypatch.setenv("SHELF_SERVICE_SHELF_COUNT", "50")

    config = ShelfConfig(label="made")

    assert config.shelf_count == 3
    with pytest.raises(ValidationError):
        config.label = "changed"
    with pytest.raises(ValidationError):
        ShelfConfig(lable="typo")  # type: ignore[call-arg]  the point of the test


def test_without_arguments_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """load_config looks at the real environment when none is handed in."""
    monkeypatch.setenv("SHELF_SERVICE_SHELF_COUNT", "50")

    assert load_config(ShelfConfig).shelf_count == 50


@settings(deadline=None)
@given(
    shelf_count=st.integers(1, 99),
    decay_per_day=st.floats(0, 1, exclude_max=True),
    is_open=st.booleans(),
    label=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    sources=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3).map(tuple),
    quotas=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 9)),
    ceiling=st.none() | st.integers(99, 1000),
)
def test_printed_config_reads_back(**fields: Any) -> None:
    """What --print-config prints is a file that gives the same settings, for any values."""
    config = ShelfConfig(**fields)

    document = tomllib.loads(print_config(config))

    assert ShelfConfig(**document) == config


def test_printed_config_explains_each_field() -> None:
    """Every field comes with its meaning, range, default and variable."""
    printed = print_config(ShelfConfig(shelf_count=7))

    expected = (
        "# Shelves. Guess.\n# integer, 1 to 99; default 3\n"
        "# environment: SHELF_SERVICE_SHELF_COUNT\nshelf_count = 7\n"
    )
    assert expected in printed
    for name in ShelfConfig.model_fields:
        assert f"SHELF_SERVICE_{name.upper()}" in printed


def test_every_shared_field_says_what_it_means() -> None:
    """A setting without a description could not be printed with its meaning."""
    for name, field in ServiceConfig.model_fields.items():
        assert field.description, name


def test_workers_are_the_cores_unless_told() -> None:
    """Zero means as many as cores; another number is taken as it is."""
    assert ServiceConfig().workers() == core_count() >= 1
    assert ServiceConfig(worker_count=7).workers() == 7


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", None), ("150000 100000", 2), ("50000 100000", 1), ("", None)],
)
def test_cpu_quota_of_a_container_counts(tmp_path: Path, quota: str, cores: int | None) -> None:
    """A container allowed 1.5 CPUs gets 2 workers, however many cores the machine has."""
    (tmp_path / "cpu.max").write_text(quota)

    found = config_module._cgroup_cores(tmp_path)

    assert found == cores if cores else found > 1000


def test_older_cpu_quota_counts_as_well(tmp_path: Path) -> None:
    """The first version of control groups keeps the quota in two files; -1 is none."""
    folder = tmp_path / "cpu"
    folder.mkdir()
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    (folder / "cpu.cfs_quota_us").write_text("300000\n")
    with_quota = config_module._cgroup_cores(tmp_path)
    (folder / "cpu.cfs_quota_us").write_text("-1\n")

    assert with_quota == 3
    assert config_module._cgroup_cores(tmp_path) > 1000


def test_error_text_lists_each_fault_on_its_line() -> None:
    """What a person sees: a count, the faults, what to do."""
    with pytest.raises(ConfigError) as caught:
        load({"SHELF_SERVICE_PORT": "x", "SHELF_SERVICE_LABEL": ""})

    first, *lines, last = str(caught.value).splitlines()
    assert first == "2 faults in the settings:"
    assert len(lines) == 2
    assert "--print-config" in last
    assert caught.value.EXIT_CODE == 2


def test_schema_of_settings_is_json() -> None:
    """Ranges come from the JSON schema, which must be expressible for every field."""
    assert json.dumps(ShelfConfig.model_json_schema())
