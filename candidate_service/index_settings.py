"""How the index of pin vectors is built, and what a build came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NUMBER: Final = "bf16"
"""How a graph keeps numbers unless told otherwise: half the size of f32, no recall lost."""
NUMBERS: Final = ("bf16", "f16", "f32", "i8")
"""Those that can be chosen."""


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How an index is built and when it is good enough.

    Attributes:
        connectivity: Links of a node in the graph (M), 4..128.
        expansion_add: Effort of placing a row; below 128 graphs break on clustered data.
        thread_count: Threads that build; with more than one the file differs from run to run.
        exact_count_max: With at most so many vectors nothing is built: a scan is as fast.
        recall_target: The search effort is the least that reaches it on the sample.
        recall_min: Below it, at the greatest effort, the build is refused.
        recall_depth: Length of the lists that recall is measured on.
        sample_count: How many pins of the catalogue are asked to measure it.
        number_type: How the graph keeps numbers: bf16, f16, f32 or i8.
    """

    connectivity: int = 16
    expansion_add: int = 128
    thread_count: int = 1
    exact_count_max: int = 10_000
    recall_target: float = 0.96
    recall_min: float = 0.95
    recall_depth: int = 100
    sample_count: int = 200
    number_type: str = NUMBER


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What a build came to.

    Attributes:
        vector_count: Rows that have a vector and can be found.
        is_exact: True where a scan answers and no graph was built.
        expansion_search: Search effort for the manifest; 0 with a scan.
        recall: Share of the true neighbours found on the sample, 1 with a scan.
    """

    vector_count: int
    is_exact: bool
    expansion_search: int
    recall: float
