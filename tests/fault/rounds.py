"""How often and with which luck things are broken.

CORKBOARD_KILL_ROUNDS sets how many kill -9 rounds each test does (default: few, for CI).
CORKBOARD_FAULT_SEED repeats the luck of an earlier run; pytest shows the seed of a test that fails.
"""

import os
import random
import secrets


def kill_rounds(default: int) -> int:
    """How many rounds to do."""
    return int(os.environ.get("CORKBOARD_KILL_ROUNDS", default))


def log_seed(what: str) -> random.Random:
    """Dice whose seed is printed, so that a failure can be had again."""
    seed = int(os.environ.get("CORKBOARD_FAULT_SEED", secrets.randbits(32)))
    print(f"{what}: CORKBOARD_FAULT_SEED={seed}")  # noqa: T201  pytest shows it on failure
    return random.Random(seed)
