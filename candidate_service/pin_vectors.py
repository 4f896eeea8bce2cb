"""The published vectors of all pins: where they are and what they belong to."""

from __future__ import annotations

from typing import Final

from service_runtime.errors import Corrupted
from service_runtime.generations import Generation
from service_runtime.vector_table import VectorTable

ARTIFACT: Final = "pin_vectors"
FORMAT_VERSION: Final = 1
VECTORS_FILE: Final = "vectors.npy"


def open_vectors(generation: Generation) -> VectorTable:
    """Map a generation.

    Raises:
        Corrupted: The file does not hold what the manifest says.
    """
    table = VectorTable.open(generation.file(VECTORS_FILE))
    details = generation.manifest.details
    shape = (details.get("pin_count"), details.get("dimension"))
    if table.vectors.shape != shape:
        raise Corrupted(
            f"pin_vectors {generation.id} holds {table.vectors.shape}, its manifest says {shape}",
            hint="build it again: python -m candidate_service.jobs.learn_vectors",
        )
    return table
