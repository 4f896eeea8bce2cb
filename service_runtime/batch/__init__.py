"""The batch engine seam: jobs speak to `BatchEngine`; which engine it is, a setting decides."""

from service_runtime.batch.engine import Advance, BatchEngine, BatchSettings, Kernel
from service_runtime.errors import InvalidRequest

__all__ = ["Advance", "BatchEngine", "BatchSettings", "Kernel", "open_engine"]


def open_engine(settings: BatchSettings | None = None) -> BatchEngine:
    """
    Open the engine that the settings name.

    Raises:
        InvalidRequest: If there is no such engine.
    """
    settings = settings or BatchSettings()
    if settings.engine == "duckdb":
        from service_runtime.batch.duckdb_engine import DuckDbEngine

        return DuckDbEngine(settings.threads, settings.memory_limit, settings.spill_folder)
    raise InvalidRequest(
        f"there is no batch engine {settings.engine!r}", hint="known engines: duckdb"
    )
