"""Sources are found by name: the built-in ones, and those of installed packages."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from candidate_service.config import CandidateConfig
from candidate_service.jobs import build_catalogue
from candidate_service.server import build
from candidate_service.source_registry import (
    BUILT_IN,
    SourcePlugin,
    SourceUnusable,
    load_plugins,
    source_names,
)
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from service_runtime.config import load_config
from service_runtime.config_draft import ConfigError
from tests.candidate_service.world import NOW_US, make_context, write_pins

PAGE = Path(__file__).parents[2] / "docs" / "write-a-source.md"
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1"

[tool.hatch.build.targets.wheel]
packages = ["{package}"]

"""


def write_package(folder: Path, package: str, modules: dict[str, str], entry_points: str) -> Path:
    """Write a package with entry points, make a wheel of it, and return the wheel."""
    source = folder / package
    (source / package).mkdir(parents=True)
    (source / package / "__init__.py").write_text("")
    for name, text in modules.items():
        (source / package / f"{name}.py").write_text(text)
    heading = PYPROJECT.format(name=package.replace("_", "-"), package=package)
    (source / "pyproject.toml").write_text(heading + entry_points)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages, on the path for the length of a test."""
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith(("my_sources", "odd_sources")):
            del sys.modules[name]


def install(wheel: Path, site: Path) -> None:
    """Do what an installer does with a wheel that is all Python."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    importlib.invalidate_caches()


def test_source_of_the_guide_works(tmp_path: Path, site: Path) -> None:
    """The package of docs/write-a-source.md, as it stands there, installed and asked."""
    text = PAGE.read_text()
    (module,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (entry_points,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    code_lines = [line for line in module.splitlines() if line.strip()]
    install(write_package(tmp_path, "my_sources", {"recent": module}, entry_points), site)
    days = {"old": 9, "young": 1, "query": 5}
    write_pins(
        tmp_path / "data",
        [
            {"pin_id": name, "topics": ["food"], "creation_time_us": NOW_US - age * 86_400_000_000}
            for name, age in days.items()
        ]
        + [{"pin_id": "other", "topics": ["cars"]}],
    )
    context = make_context(tmp_path / "data")
    build_catalogue.run(context)
    context.close()
    config = CandidateConfig(
        data_root=tmp_path / "data",
        port=0,
        metrics_port=0,
        sources=("recent",),
        drain_wait_seconds=0,
        retrieval_deadline_ms=5000,
    )
    server = build(config)
    with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as channel:
        stub = wire_grpc.CandidateServiceStub(channel)
        answer = stub.RetrieveCandidates(
            wire.RetrieveCandidatesRequest(query_pins=[wire.QueryPin(pin_id="query", weight=1)]),
            timeout=10,
        )
        listed = stub.ListSources(wire.ListSourcesRequest(), timeout=10)
    assert server.stop(0)

    assert len(code_lines) <= 30
    assert [answer.pin_ids[at] for at in answer.lists[0].pin_indexes] == ["young", "old"]
    assert [(one.source, one.is_ready) for one in listed.sources] == [("recent", True)]


def test_package_that_cannot_be_used_is_named(tmp_path: Path, site: Path) -> None:
    """Broken on import, something else than a plug-in, or under another name: a clear no."""
    modules = {
        "broken": "raise RuntimeError('no such model')",
        "other": "PLUGIN = 5",
        "renamed": (
            "from candidate_service.source_registry import SourcePlugin\n"
            "PLUGIN = SourcePlugin('elsewhere', lambda context: None, candidate_count=1)"
        ),
    }
    entry_points = '[project.entry-points."corkboard.candidate_sources"]\n' + "\n".join(
        f'{name} = "odd_sources.{name}:PLUGIN"' for name in modules
    )
    install(write_package(tmp_path, "odd_sources", modules, entry_points), site)

    assert source_names() == (*BUILT_IN, "broken", "other", "renamed")
    reasons = {"broken": "no such model", "other": "no SourcePlugin", "renamed": "elsewhere"}
    for name, reason in reasons.items():
        with pytest.raises(SourceUnusable, match=reason) as refused:
            load_plugins([name])
        assert "odd-sources" in refused.value.hint
        assert CandidateConfig(sources=(name,)).sources == (name,)


def test_source_that_nobody_brings_is_refused() -> None:
    """By the settings, with those that there are; and by whoever loads it."""
    with pytest.raises(ConfigError, match="unknown: recent; known: ann"):
        load_config(CandidateConfig, overrides=["sources=ann,recent"], environment={})
    with pytest.raises(SourceUnusable, match="no installed package"):
        load_plugins(["recent"])


@pytest.mark.parametrize(
    ("name", "count"), [("Ann", 5), ("", 5), ("a b", 5), ("x" * 65, 5), ("ann", 0), ("ann", 2001)]
)
def test_plugin_with_a_wrong_name_or_quota(name: str, count: int) -> None:
    """What would break metrics or requests is refused where it is made."""
    with pytest.raises(ValueError, match=r"lower_snake|candidate_count"):
        SourcePlugin(name, lambda _: None, candidate_count=count)  # type: ignore[arg-type,return-value]
