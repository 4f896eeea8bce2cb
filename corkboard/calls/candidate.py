"""What there is: the verbs of candidate_service."""

import uuid
from collections.abc import Iterable, Sequence

from corkboard import answers
from corkboard.calls.connection import Connection
from corkboard.candidate.v1 import candidate_service_pb2 as pb
from corkboard.decoding import catalogue as decoding
from corkboard.questions import CandidateQuestion, PinFilter, PinRecord, QueryPin, SaveRecord
from service_runtime.errors import CorkboardError, Exhausted

TITLE_COUNT_MAX = 10_000
"""Pins whose titles adorn an answer."""
PINS_PER_CALL = 1000
"""Most pins of one look-up: of usual ones, with vectors, a megabyte."""


class CandidateCalls(Connection):
    """The catalogue: look-ups, search, candidates, boards, and live changes."""

    def pins(
        self,
        pin_ids: Sequence[str],
        *,
        with_vectors: bool = False,
        fields: Sequence[str] = (),
    ) -> tuple[answers.Pin, ...]:
        """What the catalogue knows of pins, in the order asked; of many in several calls.

        Args:
            pin_ids: 1 or more.
            with_vectors: Whether to tell their vectors.
            fields: Of Pin, beside `pin_id` and `is_known`; () = all.
        """
        request = pb.GetPinsRequest(with_vectors=with_vectors)
        request.read_mask.paths.extend(fields)
        begins = range(0, max(1, len(pin_ids)), PINS_PER_CALL)
        parts = [self._pins(pin_ids[at : at + PINS_PER_CALL], request) for at in begins]
        return tuple(pin for part in parts for pin in part)

    def _pins(self, pin_ids: Sequence[str], asked: pb.GetPinsRequest) -> list[answers.Pin]:
        """Ask as *asked* does for some pins, by halves where they are too many for one answer."""
        request = pb.GetPinsRequest(pin_ids=pin_ids)
        request.MergeFrom(asked)
        try:
            response = self._call(self._candidate.GetPins, request)
        except Exhausted as fault:
            if len(pin_ids) < 2 or not _is_too_large(fault):
                raise
            middle = len(pin_ids) // 2
            halves = (pin_ids[:middle], pin_ids[middle:])
            return [pin for half in halves for pin in self._pins(half, asked)]
        return [decoding.decode_pin(pin) for pin in response.pins]

    def titles(self, pin_ids: Iterable[str]) -> dict[str, str]:
        """Titles by pin id, without those that have none.

        Titles adorn an answer, so a catalogue that cannot be asked gives none instead of an error.
        """
        wanted = sorted({pin_id for pin_id in pin_ids if pin_id})[:TITLE_COUNT_MAX]
        if not wanted:
            return {}
        try:
            found = self.pins(wanted, fields=("title",))
        except CorkboardError:
            return {}
        return {pin.pin_id: pin.title for pin in found if pin.title}

    def catalogue(self) -> answers.Catalogue:
        """The candidate sources, and the size and generation of the catalogue."""
        response = self._call(self._candidate.ListSources, pb.ListSourcesRequest())
        return decoding.decode_catalogue(response)

    def candidates(
        self,
        question: CandidateQuestion,
        *,
        deadline_s: float = 0.0,
    ) -> answers.CandidateAnswer:
        """What each candidate source proposes, unranked.

        Args:
            question: What to start from, and which sources to ask for how many.
            deadline_s: 0 = the client's.
        """
        request = decoding.encode_question(question)
        response = self._call(self._candidate.RetrieveCandidates, request, deadline_s)
        return decoding.decode_candidates(response)

    def search(
        self,
        query: str = "",
        *,
        text_vector: Sequence[float] = (),
        limit: int = 0,
        language: str = "",
        country: str = "",
        pin_filter: PinFilter | None = None,
    ) -> answers.SearchAnswer:
        """Pins found by words, by a vector of text, or by both.

        Args:
            query: Words, in any language; may be "" with a vector.
            text_vector: In the space of the imported ones; () = words alone decide.
            limit: 1 to 1,000; 0 = the server's default of 25.
            language: Of the reader.
            country: Of the reader.
            pin_filter: Which pins may be found; None = all.
        """
        request = pb.SearchPinsRequest(
            query=query,
            text_vector=text_vector,
            limit=limit,
            viewer=pb.Viewer(language=language, country=country),
            filter=decoding.encode_filter(pin_filter or PinFilter()),
        )
        return decoding.decode_search(self._call(self._candidate.SearchPins, request))

    def boards(
        self,
        query_pins: Sequence[QueryPin],
        *,
        medoids: Sequence[QueryPin] = (),
        limit: int = 0,
        language: str = "",
        country: str = "",
        excluded_board_ids: Sequence[str] = (),
        seed: int = 0,
    ) -> answers.BoardAnswer:
        """Boards that walks from the query pins and sampled medoids visit most.

        Args:
            query_pins: Always walked from, up to 100.
            medoids: Of which some are sampled, up to 1,000.
            limit: 1 to 500; 0 = the server's default of 25.
            language: Of the reader.
            country: Of the reader.
            excluded_board_ids: For example the user's own.
            seed: Of sampling and walks.
        """
        request = pb.RetrieveBoardsRequest(
            query_pins=[decoding.encode_query_pin(pin) for pin in query_pins],
            medoids=[decoding.encode_query_pin(pin) for pin in medoids],
            limit=limit,
            viewer=pb.Viewer(language=language, country=country),
            excluded_board_ids=excluded_board_ids,
            seed=seed,
        )
        return decoding.decode_boards(self._call(self._candidate.RetrieveBoards, request))

    def upsert_pins(
        self,
        pins: Sequence[PinRecord],
        *,
        fields: Sequence[str] = (),
        allow_partial: bool = False,
        validate_only: bool = False,
        deadline_s: float = 0.0,
    ) -> tuple[answers.WrittenItem, ...]:
        """Add or change 1 to 10,000 pins; durable when it returns, visible within a second.

        Args:
            pins: Of a pin that is named twice the last one counts.
            fields: Fields of PinRecord to change, the others stay; () = replace the whole record.
            allow_partial: False: one wrong pin refuses all.  True: it alone is refused.
            validate_only: Only check, change nothing.
            deadline_s: 0 = the client's.

        Returns:
            What became of each, in the order given.
        """
        request = pb.UpsertPinsRequest(
            pins=[decoding.encode_pin_record(pin) for pin in pins],
            allow_partial=allow_partial,
            validate_only=validate_only,
        )
        request.update_mask.paths.extend(fields)
        response = self._call(self._candidate.UpsertPins, request, deadline_s)
        ids = [pin.pin_id for pin in pins]
        return decoding.decode_written(ids, response.codes, response.rejections)

    def delete_pins(self, pin_ids: Sequence[str]) -> tuple[answers.WrittenItem, ...]:
        """Remove 1 to 10,000 pins: they vanish from every answer; their saves teach on."""
        response = self._call(self._candidate.DeletePins, pb.DeletePinsRequest(pin_ids=pin_ids))
        return decoding.decode_written(pin_ids, response.codes)

    def upsert_saves(
        self,
        saves: Sequence[SaveRecord],
        *,
        allow_partial: bool = False,
        validate_only: bool = False,
        deadline_s: float = 0.0,
    ) -> tuple[answers.WrittenItem, ...]:
        """Add 1 to 10,000 saves; durable when it returns, visible to walks within a second.

        A save that comes this way teaches what goes together; who did it is told to
        profile_service by `record`.

        Args:
            saves: Each with a save id, or one is made.
            allow_partial: False: one wrong save refuses all.  True: it alone is refused.
            validate_only: Only check, change nothing.
            deadline_s: 0 = the client's.

        Returns:
            What became of each, in the order given, under its save id.
        """
        ids = [save.save_id or uuid.uuid4().hex for save in saves]
        records = [
            decoding.encode_save_record(save, save_id)
            for save, save_id in zip(saves, ids, strict=True)
        ]
        request = pb.UpsertSavesRequest(
            saves=records, allow_partial=allow_partial, validate_only=validate_only
        )
        response = self._call(self._candidate.UpsertSaves, request, deadline_s)
        return decoding.decode_written(ids, response.codes, response.rejections)

    def delete_saves(self, save_ids: Sequence[str]) -> tuple[answers.WrittenItem, ...]:
        """Take 1 to 10,000 saves back."""
        response = self._call(self._candidate.DeleteSaves, pb.DeleteSavesRequest(save_ids=save_ids))
        return decoding.decode_written(save_ids, response.codes)


def _is_too_large(fault: Exhausted) -> bool:
    """Whether an answer was refused for its size: by the service, or by gRPC on either side."""
    return fault.reason == "ANSWER_TOO_LARGE" or "larger than max" in fault.message
