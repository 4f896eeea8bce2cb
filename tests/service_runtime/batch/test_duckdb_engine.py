"""DuckDB keeps the engine's promise."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from service_runtime.batch import BatchEngine, BatchSettings, open_engine
from service_runtime.batch.duckdb_engine import DuckDbEngine
from service_runtime.errors import InvalidRequest
from tests.contracts.batch_engine import SUMS, BatchEngineContract, sums


class TestDuckDbEngine(BatchEngineContract):
    @pytest.fixture
    def engine(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchEngine]:
        """An engine of two threads that spills into a folder of its own."""
        with DuckDbEngine(2, "1GB", tmp_path_factory.mktemp("spill")) as engine:
            yield engine


def test_little_memory_spills_instead_of_failing(tmp_path: Path) -> None:
    """Grouping far more than the memory limit works, and what was spilled is removed."""
    rows = 2_000_000
    with DuckDbEngine(2, "40MB", tmp_path / "spill") as engine:
        engine.sql(
            f"select cast(range * 7919 % 100003 as varchar) as key, range as value from range({rows})",  # noqa: E501, S608
            out=tmp_path / "in",
            name="t",
        )
        engine.map_lists("t", "key", ["value"], sums, SUMS, out=tmp_path / "out", name="u")

        table = engine.read("u")

    assert sum(table["count"].to_pylist()) == rows
    assert sum(table["total"].to_pylist()) == rows * (rows - 1) // 2
    assert list((tmp_path / "spill").iterdir()) == []


def test_settings_choose_the_engine(tmp_path: Path) -> None:
    """The default is DuckDB with all cores; an unknown name is refused."""
    engine = open_engine(BatchSettings(spill_folder=tmp_path))
    try:
        assert engine.threads >= 1
        engine.register("t", pa.table({"x": [1]}))
        assert engine.count("t") == 1
    finally:
        engine.close()
    with pytest.raises(InvalidRequest, match="no batch engine 'hal'"):
        open_engine(BatchSettings(engine="hal"))


def test_what_a_killed_process_spilled_is_removed(tmp_path: Path) -> None:
    """The next engine sweeps the folders of the dead and spares those at work."""
    dead = tmp_path / "batch-spill-dead"
    dead.mkdir()
    (dead / ".owner").touch()
    (dead / "block").write_bytes(b"x")
    with DuckDbEngine(1, "1GB", tmp_path), DuckDbEngine(1, "1GB", tmp_path):
        assert len(list(tmp_path.iterdir())) == 2
        assert not dead.exists()
    assert list(tmp_path.iterdir()) == []
