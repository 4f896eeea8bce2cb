"""Numbers of words, found by the words' keys: a million of them without a million strings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranking_service.pin_keys import keys_of, keys_of_arrow

NONE = -1


class WordCodes(Mapping[str, int]):
    """Code of each word: its place in a column of distinct words; "" has none."""

    def __init__(self, words: pa.Array) -> None:
        """Take distinct words over, a column of text without nulls."""
        self._words = words
        keys = keys_of_arrow(words)
        # An empty word has the key 0; no other has it but by a chance of 2**-64.
        order = np.argsort(keys, kind="stable")[np.count_nonzero(keys == 0) :]
        self._codes = order.astype(np.int32)
        self._keys = keys[order]

    def codes_of(self, words: Sequence[str]) -> NDArray[np.int32]:
        """Return the code of each word, -1 where it is not known: int32[n]."""
        if not words or not len(self._keys):
            return np.full(len(words), NONE, np.int32)
        wanted = keys_of(words)
        places = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where(self._keys[places] == wanted, self._codes[places], np.int32(NONE))

    def __getitem__(self, word: str) -> int:
        code = int(self.codes_of((word,))[0])
        if code == NONE:
            raise KeyError(word)
        return code

    def __len__(self) -> int:
        return len(self._codes)

    def __iter__(self) -> Iterator[str]:
        return (word for word in self._words.to_pylist() if word)
