"""Receipts remember imports; moves are finished after a crash."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from corkboard.importing.receipts import fingerprint, imports_folder, read_receipts
from service_runtime.errors import Corrupted
from tests.corkboard.importing.folders import write_csv

KILL_ROUNDS = 8

IMPORTER = """
import sys
from corkboard.importing import import_folder
print("start", flush=True)
report = import_folder(sys.argv[1], sys.argv[2], now_us=1_767_225_600_000_000)
print(report.action_count)
"""


def test_the_fingerprint_is_of_content_and_meaning(tmp_path: Path) -> None:
    """Another byte, another name or another split of the same bytes is another import."""
    one, two = write_csv(tmp_path / "a", "ab"), write_csv(tmp_path / "b", "c")
    base = fingerprint({"pins:a": one, "saves:b": two})

    assert base == fingerprint({"saves:b": two, "pins:a": one})
    assert base != fingerprint({"pins:a": two, "saves:b": one})
    assert base != fingerprint({"saves:a": one, "saves:b": two})
    write_csv(one, "a")
    write_csv(two, "bc")
    assert base != fingerprint({"pins:a": one, "saves:b": two})


def test_a_damaged_receipt_is_named_with_its_remedy(tmp_path: Path) -> None:
    """A receipt that cannot be read stops the import instead of counting twice."""
    write_csv(imports_folder(tmp_path) / "abc.json", '{"import_seq": 1')

    with pytest.raises(Corrupted, match=r"abc\.json is not a receipt") as caught:
        read_receipts(tmp_path)

    assert "remove it" in caught.value.hint


def test_an_import_killed_at_any_moment_is_whole_in_the_end(tmp_path: Path) -> None:
    """Kill -9 again and again, then let it finish: as if it had run once."""
    chance = random.Random(4)
    folder, root = tmp_path / "in", tmp_path / "root"
    lines = [f"u{n % 50},p{n % 70},click,{1_700_000_000 + 40_000 * n}" for n in range(500)]
    write_csv(folder / "actions.csv", "\n".join(["user,pin,type,time", *lines]))
    command = [sys.executable, "-c", IMPORTER, str(folder), str(root)]
    for _ in range(KILL_ROUNDS):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["start", "500"]
    (receipt,) = read_receipts(root)
    there = {path.relative_to(root).as_posix() for path in root.rglob("*.parquet")}
    assert there == set(receipt["files"])
