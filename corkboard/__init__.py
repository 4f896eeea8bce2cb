"""The Python face of Corkboard: generated stubs, `Client` and the command line `corkboard`.

The stubs (`corkboard.profile.v1`, `corkboard.candidate.v1`, `corkboard.ranking.v1`) are made from
`protos/`; the three services serve them and import nothing else from here.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corkboard.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> object:
    """`corkboard.Client`, loaded on first use so that services do not pay for it."""
    if name == "Client":
        from corkboard.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
