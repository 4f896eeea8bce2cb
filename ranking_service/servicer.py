"""The wire edge of ranking: decode, call, encode."""

from collections.abc import Callable, Mapping

import grpc

from corkboard.ranking.v1 import ranking_service_pb2 as pb
from corkboard.ranking.v1.ranking_service_pb2_grpc import RankingServiceServicer
from ranking_service.batch import Batches
from ranking_service.config import RankingConfig
from ranking_service.confirmations import Confirmations
from ranking_service.encoding import (
    encode_batch,
    encode_experiment,
    encode_models,
    encode_pin,
    encode_ranked,
    encode_recommended,
)
from ranking_service.erasure import Erasures
from ranking_service.erasure_servicer import ErasureVerbs
from ranking_service.experiment_results import Outcome
from ranking_service.memboost.keeper import MemboostKeeper
from ranking_service.memboost.servicer import MemboostVerbs
from ranking_service.query import (
    Origin,
    PinFilter,
    RankQuery,
    RecommendQuery,
    RequestContext,
    Surface,
    Viewer,
    seed_of,
)
from ranking_service.ranker import Rankers
from ranking_service.recommend import Recommender
from ranking_service.scoring import gain_of
from ranking_service.shadow import Shadow
from ranking_service.wire_time_encoding import seconds_of
from service_runtime.call_context import current_request_id
from service_runtime.clock import Clock


class RankingServicer(MemboostVerbs, ErasureVerbs, RankingServiceServicer):
    """
    RankingService over gRPC.

    Args:
        recommender: Answers requests.
        rankers: The models.
        memory: The Memboost counters.
        confirmations: What clients showed.
        erasures: Forgets users.
        experiments: Shares and figures of an experiment; NotFound if there is none.
        shadow: The staged model and what was seen of it.
        config: Defaults.
        clock: Unix seconds.
    """

    def __init__(
        self,
        recommender: Recommender,
        rankers: Rankers,
        memory: MemboostKeeper,
        confirmations: Confirmations,
        erasures: Erasures,
        *,
        experiments: Callable[[str], tuple[Mapping[str, float], Outcome | None]],
        shadow: Shadow,
        config: RankingConfig,
        clock: Clock,
    ) -> None:
        MemboostVerbs.__init__(self, memory, confirmations, self._gain, clock)
        ErasureVerbs.__init__(self, erasures)
        self._to_close = (confirmations, erasures)
        self._recommender = recommender
        self._batches = Batches(recommender, count_max=config.batches())
        self._rankers = rankers
        self._experiments = experiments
        self._shadow = shadow
        self._limit_default = config.limit_default
        self._gain_default = config.memboost_gain

    def close(self) -> None:
        """Close the logs behind the verbs. Once."""
        for part in self._to_close:
            part.close()

    def _gain(self, is_related: bool) -> float:  # noqa: FBT001  it is what the gain depends on
        surface = Surface.RELATED_PINS if is_related else Surface.HOME_FEED
        return gain_of(self._rankers.serving(surface).ranker, self._gain_default)

    def RecommendPins(
        self, request: pb.RecommendPinsRequest, context: grpc.ServicerContext
    ) -> pb.RecommendPinsResponse:
        """See the contract."""
        del context
        query = decode_recommend(request, limit_default=self._limit_default)
        return encode_recommended(self._recommender.recommend(query))

    def BatchRecommendPins(
        self, request: pb.BatchRecommendPinsRequest, context: grpc.ServicerContext
    ) -> pb.BatchRecommendPinsResponse:
        """See the contract."""
        del context
        request_id = current_request_id()
        queries = [
            decode_recommend(one, limit_default=self._limit_default, request_id=f"{request_id}/{n}")
            for n, one in enumerate(request.requests)
        ]
        return encode_batch(self._batches.recommend(queries))

    def ExplainPin(
        self, request: pb.ExplainPinRequest, context: grpc.ServicerContext
    ) -> pb.ExplainPinResponse:
        """See the contract."""
        del context
        query = decode_recommend(request.request, limit_default=self._limit_default)
        return encode_pin(*self._recommender.explain(query, request.pin_id))

    def GetExperiment(
        self, request: pb.GetExperimentRequest, context: grpc.ServicerContext
    ) -> pb.GetExperimentResponse:
        """See the contract."""
        del context
        shares, outcome = self._experiments(request.experiment)
        return encode_experiment(request.experiment, shares, outcome)

    def RankPins(
        self, request: pb.RankPinsRequest, context: grpc.ServicerContext
    ) -> pb.RankPinsResponse:
        """See the contract."""
        del context
        return encode_ranked(self._recommender.rank(decode_rank(request)))

    def ListModels(
        self, request: pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> pb.ListModelsResponse:
        """See the contract."""
        del request, context
        return encode_models(self._rankers, self._shadow.staged())


def decode_recommend(
    request: pb.RecommendPinsRequest, *, limit_default: int, request_id: str = ""
) -> RecommendQuery:
    """A request as plain values, its defaults filled in; without an id it has the call's."""
    unspecified = Surface.RELATED_PINS if request.query_pin_id else Surface.HOME_FEED
    request_id = request_id or current_request_id()
    return RecommendQuery(
        user_id=request.user_id,
        surface=Surface(request.surface) if request.surface else unspecified,
        query_pin_id=request.query_pin_id,
        limit=request.limit or limit_default,
        viewer=_viewer(request.viewer),
        excluded_pin_ids=tuple(request.excluded_pin_ids),
        include_acted_pins=request.include_acted_pins,
        seed=request.seed or seed_of(request_id),
        request_id=request_id,
        context=_context(request.context),
        filter=PinFilter(
            request.filter, request.filter_name, tuple(sorted(request.filter_parameters.items()))
        ),
        excluded_owner_ids=tuple(request.excluded_owner_ids),
        score_min=request.score_min,
        is_explained=request.explain,
        page_token=request.page_token,
        page_id=request.page_id,
        diversity=request.diversity if request.HasField("diversity") else None,
        rotation_rate=request.rotation_rate if request.HasField("rotation_rate") else None,
        rotation_seconds=seconds_of(request.rotation_time)
        if request.HasField("rotation_time")
        else None,
        scenario=request.scenario,
        experiment_arms=dict(request.experiment_arms),
    )


def _context(message: pb.Context) -> RequestContext:
    return RequestContext(
        origin=Origin(message.origin),
        board_id=message.board_id,
        queries=tuple(message.queries),
        platform=message.platform,
    )


def decode_rank(request: pb.RankPinsRequest) -> RankQuery:
    """A request as plain values."""
    return RankQuery(
        user_id=request.user_id,
        query_pin_id=request.query_pin_id,
        pin_ids=tuple(request.pin_ids),
        viewer=_viewer(request.viewer),
        request_id=current_request_id(),
    )


def _viewer(message: pb.Viewer) -> Viewer:
    return Viewer(language=message.language, country=message.country, segment=message.segment)
