"""
What is known of users beside their actions, as Parquet: what batch jobs read of people.

One file, `events/users/attributes.parquet`, holds everybody of whom anything is known at this
moment. It is made anew whole, so a changed attribute is changed and a forgotten user is gone; a
digest in the file tells when there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from profile_service.action_export import write_table
from profile_service.profile import Attributes
from profile_service.store import ActionLog

SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in ("user_id", "language", "country", "segment")]
)
"""The columns of events/users; empty = not known."""

FILE: Final = "attributes.parquet"
_DIGEST: Final = b"corkboard.digest"


def users_folder(data_root: Path) -> Path:
    """Where the attributes of users stand as Parquet."""
    return data_root / "events" / "users"


def export_users(log: ActionLog, folder: Path) -> int:
    """
    Write what the live log knows of users; running it again changes nothing.

    Args:
        log: The live log; may be open elsewhere and written to meanwhile.
        folder: `events/users`.

    Returns:
        How many users anything is known of.

    Cost: 1.5 us a user to see that nothing changed, 2 us to write.
    """
    known = log.all_attributes()
    path = folder / FILE
    if not known and not path.exists():
        return 0
    digest = _digest_of(known)
    if not path.exists() or pq.read_schema(path).metadata.get(_DIGEST) != digest:
        write_table(_table(known).replace_schema_metadata({_DIGEST: digest}), path)
    return len(known)


def _digest_of(known: Mapping[str, Attributes]) -> bytes:
    """Tell two states apart; the log hands users out in the order of their ids."""
    state = xxhash.xxh3_128()
    for user_id, told in known.items():
        words = (user_id, told.language, told.country, told.segment)
        state.update("\0".join(words).encode() + b"\n")
    return state.hexdigest().encode()


def _table(known: Mapping[str, Attributes]) -> pa.Table:
    columns = [
        list(known),
        [told.language for told in known.values()],
        [told.country for told in known.values()],
        [told.segment for told in known.values()],
    ]
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
