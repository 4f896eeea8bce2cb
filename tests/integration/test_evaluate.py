"""`corkboard evaluate candidates` on the tiny world: real jobs and services, leaks that fail."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from corkboard.cli.options import ExitCode
from corkboard.evaluation.candidates import check_generations
from corkboard.evaluation.split import LeakFound
from tests.integration.world import AS_OF, built_root, copy_of_root


def test_evaluate_candidates_measures_sources_and_baselines(tmp_path: Path) -> None:
    """Every figure is there and possible; the page is written; the data root is as it was."""
    root = copy_of_root(tmp_path)
    before = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    page = tmp_path / "page.html"

    done = subprocess.run(
        [sys.executable, "-m", "corkboard", "evaluate", "candidates", "--data-root", str(root),
         "--split", "last", "--users", "25", "--baseline", "popularity", "--baseline", "itemknn",
         "--report", str(page), "--json"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip

    assert done.returncode == ExitCode.DONE, done.stderr[-2000:]
    found = json.loads(done.stdout)
    names = [source["name"] for source in found["sources"]]
    assert {"ann", "board_cooccurrence", "pixie", "popular"} <= set(names)
    assert [model["name"] for model in found["baselines"]] == ["popularity", "ItemKNN"]
    for report in [*found["sources"], found["union"], *found["baselines"]]:
        recalls = [report["recall"][depth]["value"] for depth in ("10", "100", "400")]
        assert 0 <= recalls[0] <= recalls[1] <= recalls[2] <= 1
        assert all(0 <= share <= 1 for share in report["coverage"].values())
    # Topics of the tiny world are apart, so what goes together is found by walks and by lists.
    by_name = {source["name"]: source for source in found["sources"]}
    assert by_name["pixie"]["recall"]["100"]["value"] > 0.5
    assert found["union"]["found"] >= max(source["found"] for source in found["sources"])
    assert re.search("<svg", page.read_text())
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == before


def test_artifact_built_after_the_split_fails_the_run() -> None:
    """Its manifest says so, whoever built it."""
    root = built_root()

    check_generations(root, AS_OF.timestamp())
    with pytest.raises(LeakFound, match="after the split"):
        check_generations(root, AS_OF.timestamp() - 1)
