"""Messages of candidate_service."""

from collections.abc import Iterable, Sequence

from corkboard import answers
from corkboard.candidate.v1 import candidate_service_pb2 as pb
from corkboard.decoding.wire import from_age, from_time, from_word, to_time, to_word
from corkboard.questions import CandidateQuestion, PinFilter, PinRecord, QueryPin, SaveRecord


def decode_pin(message: pb.Pin) -> answers.Pin:
    """One catalogue entry."""
    return answers.Pin(
        pin_id=message.pin_id,
        is_known=message.is_known,
        title=message.title,
        description=message.description,
        topics=tuple(message.topics),
        language=message.language,
        country=message.country,
        owner_id=message.owner_id,
        image_url=message.image_url,
        creation_time=to_time(message, "creation_time"),
        attributes=dict(message.attributes),
        quality=message.quality if message.HasField("quality") else None,
        is_hidden=message.is_hidden,
        expiration_time=to_time(message, "expiration_time"),
        image_hash=message.image_hash if message.HasField("image_hash") else None,
        vector=tuple(message.vector),
        is_live=message.is_live,
    )


def decode_catalogue(message: pb.ListSourcesResponse) -> answers.Catalogue:
    """The candidate sources."""
    return answers.Catalogue(
        sources=tuple(_decode_source(source) for source in message.sources),
        pin_count=message.pin_count,
        generation=message.catalogue_generation,
        as_of_time=to_time(message, "catalogue_as_of_time"),
        live_change_count=message.live_change_count,
    )


def _decode_source(source: pb.Source) -> answers.Source:
    return answers.Source(
        source=source.source,
        is_ready=source.is_ready,
        reason=source.reason,
        candidate_count=source.candidate_count,
        generations=dict(source.generations),
        as_of_time=to_time(source, "as_of_time"),
        pin_count=source.pin_count,
        answer_count=source.answer_count,
        late_count=source.late_count,
        failure_count=source.failure_count,
        cache_hit_ratio=source.cache_hit_ratio,
        sampled_recall=source.sampled_recall if source.HasField("sampled_recall") else None,
    )


def decode_candidates(message: pb.RetrieveCandidatesResponse) -> answers.CandidateAnswer:
    """The lists of all sources, indexes resolved to ids."""
    pin_ids, queried = list(message.pin_ids), list(message.queried_pins)
    return answers.CandidateAnswer(
        lists=tuple(
            answers.SourceList(
                source=found.source,
                status=to_word(pb.SourceStatus.Name(found.status), "SOURCE_STATUS_"),
                reason=found.reason,
                pin_ids=tuple(pin_ids[at] for at in found.pin_indexes),
                scores=tuple(found.scores),
                query_pin_ids=tuple(
                    queried[at].pin_id if at >= 0 else "" for at in found.query_indexes
                ),
                duration_us=found.duration_us,
                generation=found.generation,
            )
            for found in message.lists
        ),
        queried_pins=tuple(
            answers.QueriedPin(pin.pin_id, pin.weight, pin.is_medoid, pin.inclusion_probability)
            for pin in queried
        ),
        unknown_pin_ids=tuple(message.unknown_pin_ids),
        catalogue_generation=message.catalogue_generation,
        live_pins=tuple(decode_pin(pin) for pin in message.live_pins),
        duplicate_groups={
            pin_id: group
            for pin_id, group in zip(pin_ids, message.duplicate_groups, strict=False)
            if group
        },
    )


def decode_search(message: pb.SearchPinsResponse) -> answers.SearchAnswer:
    """What a search found."""
    found = tuple(answers.FoundPin(pin.pin_id, pin.score, pin.title) for pin in message.pins)
    return answers.SearchAnswer(found, message.generation)


def decode_boards(message: pb.RetrieveBoardsResponse) -> answers.BoardAnswer:
    """Recommended boards."""
    return answers.BoardAnswer(
        boards=tuple(
            answers.RecommendedBoard(
                board_id=board.board_id,
                title=board.title,
                score=board.score,
                query_pin_id=board.query_pin_id,
                pin_count=board.pin_count,
                pin_ids=tuple(board.pin_ids),
            )
            for board in message.boards
        ),
        unknown_pin_ids=tuple(message.unknown_pin_ids),
        graph_generation=message.graph_generation,
    )


def decode_written(
    item_ids: Sequence[str],
    codes: Iterable[pb.ItemCode.ValueType],
    rejections: Iterable[pb.ItemRejection] = (),
) -> tuple[answers.WrittenItem, ...]:
    """What became of each item, in the order of *item_ids*."""
    refused = {rejection.index: rejection for rejection in rejections}
    written = []
    for index, (item_id, code) in enumerate(zip(item_ids, codes, strict=True)):
        rejection = refused.get(index)
        written.append(
            answers.WrittenItem(
                item_id=item_id,
                code=to_word(pb.ItemCode.Name(code), "ITEM_CODE_"),
                field=rejection.field if rejection else "",
                reason=rejection.reason if rejection else "",
            )
        )
    return tuple(written)


def encode_filter(given: PinFilter) -> pb.PinFilter | None:
    """A filter as a message; None for one that asks nothing."""
    if given == PinFilter():
        return None
    return pb.PinFilter(
        expression=given.expression,
        name=given.name,
        parameters=dict(given.parameters),
        age_max=from_age(given.age_max),
        age_min=from_age(given.age_min),
        excluded_owner_ids=given.excluded_owner_ids,
        is_local_only=given.is_local_only,
    )


def encode_query_pin(pin: QueryPin) -> pb.QueryPin:
    """A pin to start from."""
    return pb.QueryPin(
        pin_id=pin.pin_id,
        weight=pin.weight,
        action_type=pin.action_type,
        action_time=from_time(pin.action_time),
    )


def encode_question(asked: CandidateQuestion) -> pb.RetrieveCandidatesRequest:
    """A question for candidates.

    Raises:
        InvalidRequest: `medoid_choice` or `query_merge` is none of its words.
    """
    choice = from_word(
        pb.MedoidChoice, asked.medoid_choice, prefix="MEDOID_CHOICE_", field="medoid_choice"
    )
    merge = from_word(pb.QueryMerge, asked.query_merge, prefix="QUERY_MERGE_", field="query_merge")
    return pb.RetrieveCandidatesRequest(
        query_pins=[encode_query_pin(pin) for pin in asked.query_pins],
        medoids=[encode_query_pin(pin) for pin in asked.medoids],
        medoid_sample_count=asked.medoid_sample_count,
        medoid_choice=pb.MedoidChoice.ValueType(choice),
        query_merge=pb.QueryMerge.ValueType(merge),
        sources=[
            pb.SourceQuota(source=source, candidate_count=count)
            for source, count in asked.sources.items()
        ],
        session_pin_ids=asked.session_pin_ids,
        declared_pin_ids=asked.declared_pin_ids,
        query_text=asked.query_text,
        excluded_pin_ids=asked.excluded_pin_ids,
        filter=encode_filter(asked.filter),
        viewer=pb.Viewer(language=asked.language, country=asked.country),
        owner_pin_count_max=asked.owner_pin_count_max,
        board_pin_count_max=asked.board_pin_count_max,
        seed=asked.seed,
    )


def encode_pin_record(pin: PinRecord) -> pb.PinRecord:
    """A pin to add or change."""
    return pb.PinRecord(
        pin_id=pin.pin_id,
        title=pin.title,
        description=pin.description,
        topics=pin.topics,
        language=pin.language,
        country=pin.country,
        owner_id=pin.owner_id,
        image_url=pin.image_url,
        creation_time=from_time(pin.creation_time),
        attributes=dict(pin.attributes),
        quality=pin.quality,
        is_hidden=pin.is_hidden,
        expiration_time=from_time(pin.expiration_time),
        vector=pin.vector,
        text_vector=pin.text_vector,
        visual_vector=pin.visual_vector,
        image_hash=pin.image_hash,
        image_bytes=pin.image_bytes,
    )


def encode_save_record(save: SaveRecord, save_id: str) -> pb.SaveRecord:
    """A save to add."""
    return pb.SaveRecord(
        save_id=save_id,
        board_id=save.board_id,
        pin_id=save.pin_id,
        user_id=save.user_id,
        save_time=from_time(save.save_time),
        board_title=save.board_title,
    )
