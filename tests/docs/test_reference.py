"""The reference says what the code says."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_reference_is_fresh() -> None:
    """What is committed below docs/reference is what `make docs` writes."""
    pages = runpy.run_path(str(ROOT / "docs" / "generate_reference.py"))["pages"]()
    committed = {
        path.name: path.read_text(encoding="utf-8")
        for path in (ROOT / "docs" / "reference").glob("*.md")
    }

    assert len(pages) >= 4
    assert committed == pages, "run make docs"
