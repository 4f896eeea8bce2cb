"""What every test may ask for: a fixed time and a seeded generator."""

import numpy as np
import pytest


@pytest.fixture
def now() -> float:
    """A fixed moment, Unix seconds: 2026-01-01 00:00 UTC."""
    return 1_767_225_600.0


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(20260101)
