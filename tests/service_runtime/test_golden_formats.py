"""What older releases wrote still opens; if not, a format changed without its version."""

import shutil
from pathlib import Path

import numpy as np

from service_runtime.event_log import EventLog, read_log
from service_runtime.generations import GenerationStore
from service_runtime.id_table import IdTable
from service_runtime.vector_table import VectorTable

GOLDEN = Path(__file__).parents[1] / "golden" / "service_runtime"


def test_generation_of_version_1_opens() -> None:
    """Manifest, checksums, ids and vectors as they were written."""
    generation = GenerationStore(GOLDEN / "generations_v1").current("thing", format_version=1)

    assert generation is not None
    assert generation.manifest.as_of_us == 1_767_225_600_000_000
    assert generation.manifest.inputs == {"other": "20260101T000000000000-abcd"}
    assert generation.manifest.quality == {"recall": 0.96875}
    assert generation.manifest.details == {"id_space": "0123456789abcdef"}
    ids = IdTable.open(generation.file("ids"))
    known = ["sourdough", "tagliatelle", "ü", "x" * 128]
    assert ids.ids([0, 1, 2, 3]) == known
    assert ids.rows([*known, "rye"]).tolist() == [0, 1, 2, 3, -1]
    vectors = VectorTable.open(generation.file("vectors.npy")).vectors
    expected = np.array([[0.6, 0.8], [0, 0], [-1, 0], [0, 1]], np.float32)
    assert np.array_equal(vectors, expected)


def test_event_log_of_version_1_is_read_and_goes_on(tmp_path: Path) -> None:
    """Records and positions as they were, and the writer continues after them."""
    folder = shutil.copytree(GOLDEN / "event_log_v1", tmp_path / "log")

    records = list(read_log(folder))

    assert [record.payload for record in records] == [b"one", b"two", b"", b"four"]
    assert [record.position_after for record in records] == [19, 38, 54, 74]
    with EventLog(folder) as log:
        assert log.position == 74
        log.append([b"five"])
        assert [record.payload for record in log.read(74)] == [b"five"]
