"""The wire edge of search: a part of CandidateService."""

# ruff: noqa: ARG002, D102, N802  signature, docs and names are the contract's

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from candidate_service import text_index
from candidate_service.answer_size import TITLE_BYTES_MAX, short_title
from candidate_service.artifacts import Artifacts, Served, steady
from candidate_service.content_vectors import FORMAT_VERSION, TEXT, or_none
from candidate_service.live_text import LiveText
from candidate_service.pin_search import Found, PinSearch, Space
from candidate_service.text_index import TextIndex
from candidate_service.vector_index import VectorIndex, open_index
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from service_runtime.errors import InvalidRequest
from service_runtime.vector_table import unit_rows

LIMIT_DEFAULT: Final = 25

AllowedRows = Callable[[wire.SearchPinsRequest, Served], NDArray[np.bool_] | None]


@dataclass(frozen=True, slots=True)
class SearchParts:
    """What answers to searches are made of.

    Attributes:
        index: Gives the words of the generation's pins, or raises NotReady.
        vectors: Gives the vectors of their texts, or raises NotReady.
        served: Gives the catalogue with its changes.
        generation: Id of the text index that serves.
        search: Turns words into answers.
    """

    index: Callable[[], TextIndex]
    vectors: Callable[[], VectorIndex]
    served: Callable[[], Served]
    generation: Callable[[], str]
    search: PinSearch

    def find(
        self,
        request: wire.SearchPinsRequest,
        served: Served,
        allowed: NDArray[np.bool_] | None,
    ) -> Found:
        """Return rows and scores of what a request looks for, best first.

        Raises:
            NotReady: There is no text index.
            InvalidRequest: The vector is no direction in the space of the catalogue's.
        """
        words = served.live.part(LiveText)
        space = Space(self.index(), words, or_none(self.vectors), words.vectors, allowed)
        vector = decode_vector(request.text_vector, served, space.vectors)
        terms = self.search.terms_of_query(request.query, request.viewer.language, space.index)
        return self.search.find(terms, vector, request.limit or LIMIT_DEFAULT, space)


def decode_vector(
    values: Sequence[float], served: Served, vectors: VectorIndex | None
) -> NDArray[np.float32] | None:
    """Return the direction of a request's vector, unit float32[d]; None where it has none.

    Raises:
        InvalidRequest: It is zero, not finite, of another length than the catalogue's, or the
            catalogue has none.
    """
    if not values:
        return None
    given = np.asarray(values, np.float32)
    dimension = served.catalogue.dimensions.get("text_vector", 0)
    if vectors is not None:
        dimension = vectors.dimension
    if len(given) != dimension:
        known = f"the catalogue's have {dimension}" if dimension else "the catalogue has none"
        raise InvalidRequest(
            f"text_vector has {len(given)} numbers, {known}",
            hint="make it by the model that made the imported text_vector, or send words alone",
            field="text_vector",
            reason="WRONG_DIMENSION",
        )
    if not np.isfinite(given).all() or not given.any():
        raise InvalidRequest(
            "text_vector is zero or not finite, so it has no direction",
            field="text_vector",
            reason="NO_DIRECTION",
        )
    return np.asarray(unit_rows(given[None])[0])


def encode_found(found: Found, served: Served, generation: str) -> wire.SearchPinsResponse:
    """Encode what was found, with titles."""
    rows, scores = found
    titles = titles_of(rows, served)
    pins = [
        wire.FoundPin(pin_id=pin_id, score=score, title=title)
        for pin_id, score, title in zip(served.live.ids(rows), scores.tolist(), titles, strict=True)
    ]
    return wire.SearchPinsResponse(pins=pins, generation=generation)


def titles_of(rows: NDArray[np.int32], served: Served) -> list[str]:
    """Return the newest title of each row, cut, "" where it has none."""
    sealed = np.where(rows < len(served.catalogue), rows, -1).astype(np.int32)
    whole = served.catalogue.known_of(sealed, columns=("title",)).column("title")
    known = pc.utf8_slice_codeunits(whole, 0, TITLE_BYTES_MAX).to_pylist()
    changed = [served.live.pin(row) for row in rows.tolist()]
    return [
        short_title(pin.title if pin is not None else title or "")
        for pin, title in zip(changed, known, strict=True)
    ]


def search_parts(artifacts: Artifacts, search: PinSearch) -> SearchParts:
    """Open what searches read."""
    return SearchParts(
        index=artifacts.add(
            text_index.ARTIFACT, text_index.FORMAT_VERSION, text_index.open_text_index
        ),
        vectors=artifacts.add(TEXT, FORMAT_VERSION, open_index),
        served=artifacts.served,
        generation=lambda: artifacts.generation(text_index.ARTIFACT),
        search=search,
    )


class SearchVerbs:
    """The verb that finds pins by words; a part of CandidateService."""

    def __init__(self, parts: SearchParts, allowed: AllowedRows) -> None:
        """Answer from parts; *allowed* tells which rows a request's filter lets through."""
        self._search_parts = parts
        self._search_allowed = allowed

    def SearchPins(
        self, request: wire.SearchPinsRequest, context: grpc.ServicerContext
    ) -> wire.SearchPinsResponse:
        return steady(self._search_parts.served, lambda served: self._found(request, served))

    def _found(self, request: wire.SearchPinsRequest, served: Served) -> wire.SearchPinsResponse:
        parts = self._search_parts
        found = parts.find(request, served, self._search_allowed(request, served))
        return encode_found(found, served, parts.generation())
