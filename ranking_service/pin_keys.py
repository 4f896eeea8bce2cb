"""Ids as 64-bit numbers; equal ids have equal keys, and two others by a chance of 2**-64."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranking_service.pin_key_kernels import hash_spans
from service_runtime.id_table import IdTable


def keys_of_table(ids: IdTable) -> NDArray[np.uint64]:
    """The key of each row, uint64[N]."""
    data, offsets = ids.arrays()
    return hash_spans(data, offsets[:-1], offsets[1:] - 1)


def keys_of(ids: Sequence[str]) -> NDArray[np.uint64]:
    """The key of each id, uint64[n]; an empty one has the key 0."""
    encoded = [name.encode("utf-8", "surrogatepass") for name in ids]
    stops = np.cumsum([len(name) for name in encoded], dtype=np.int64)
    starts = np.concatenate((np.zeros(1, np.int64), stops[:-1])) if encoded else stops
    return hash_spans(np.frombuffer(b"".join(encoded), np.uint8), starts, stops)


def key_of(name: str) -> int:
    """The key of one id, in [0, 2**64); 0 for an empty one."""
    return int(keys_of((name,))[0])


def keys_of_arrow(column: pa.Array | pa.ChunkedArray) -> NDArray[np.uint64]:
    """The key of each text of a column, uint64[n]; 0 where it is null or empty."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], pa.string())
    array = array.cast(pa.large_string()).fill_null("")
    if not len(array):
        return np.empty(0, np.uint64)
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    has_data = data_buffer is not None and data_buffer.size
    data = np.frombuffer(data_buffer, np.uint8) if has_data else np.empty(0, np.uint8)
    return hash_spans(data, offsets[:-1], offsets[1:])
