"""Finds what a person may have meant by an id that does not exist."""

import difflib
from pathlib import Path

PINS_LOOKED_AT_MAX = 200_000
SHOWN_MAX = 3


def closest_pins(data_root: Path, text: str) -> str:
    """A hint naming pins whose title holds *text* or whose id is like it.

    Args:
        data_root: Where a catalogue may lie; without one the hint says how to find ids.
        text: What was typed: a wrong id, or part of a title.
    """
    titles = _titles(data_root)
    wanted = text.casefold()
    found = [pin_id for pin_id, title in titles.items() if wanted in title.casefold()]
    found.sort(key=lambda pin_id: len(titles[pin_id]))
    found = found[:SHOWN_MAX] or difflib.get_close_matches(text, titles, SHOWN_MAX, cutoff=0.6)
    if not found:
        return "ids are case-sensitive; `corkboard status` shows how many pins there are"
    shown = [f"{pin_id} ({titles[pin_id]})" if titles[pin_id] else pin_id for pin_id in found]
    return f"did you mean {', '.join(shown)}?"


def _titles(data_root: Path) -> dict[str, str]:
    """Titles by pin id of the imported catalogue, "" where a pin has none; {} without one."""
    import pyarrow.parquet as pq

    titles: dict[str, str] = {}
    for file in sorted((data_root / "catalogue" / "pins").glob("*.parquet")):
        table = pq.read_table(file, columns=["pin_id", "title"])
        for pin_id, title in zip(*(column.to_pylist() for column in table.columns), strict=True):
            titles[pin_id] = title or ""
        if len(titles) >= PINS_LOOKED_AT_MAX:
            break
    return titles
