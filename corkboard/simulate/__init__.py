"""A made-up world with a known truth, for tests and for people without traffic.

SIMULATED says so, and stands beside every figure that comes out of it; a data root with made-up
people bears a file that says so as well.
"""

from pathlib import Path

SIMULATED = "SIMULATION: made-up people with planted tastes; says nothing about real ones."
MARK_FILE = "SIMULATED.txt"


def is_simulated(data_root: Path) -> bool:
    """Whether the people of a data root are made up."""
    return (data_root / MARK_FILE).exists()
