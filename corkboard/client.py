"""One object for the three services.

```python
from corkboard import Client

with Client() as client:
    print(client.recommend("u1", limit=25))
    client.record("u1", "m242", "save")
```
"""

import uuid
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from corkboard import answers, decoding
from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb2
from corkboard.candidate.v1 import candidate_service_pb2_grpc as candidate_grpc
from corkboard.profile.v1 import profile_service_pb2 as profile_pb2
from corkboard.profile.v1 import profile_service_pb2_grpc as profile_grpc
from corkboard.ranking.v1 import ranking_service_pb2 as ranking_pb2
from corkboard.ranking.v1 import ranking_service_pb2_grpc as ranking_grpc
from service_runtime.errors import CorkboardError, InvalidRequest
from service_runtime.grpc_client import call, open_channel

PROFILE_TARGET = "127.0.0.1:50051"
CANDIDATE_TARGET = "127.0.0.1:50052"
RANKING_TARGET = "127.0.0.1:50053"
DEADLINE_S = 5.0
TITLES_PER_CALL = 10_000


class Client:
    """Speaks to ranking_service, profile_service and candidate_service; use it with `with`.

    Channels connect when they are first used, so making a client costs nothing and needs no server.
    Safe to share between threads.  Every call has a deadline.

    Args:
        profile: Target of profile_service, host:port or any gRPC target.
        candidate: Target of candidate_service.
        ranking: Target of ranking_service.
        deadline_s: Seconds that a call may take if it is not told otherwise; > 0.

    Raises (every method):
        InvalidRequest: A field is wrong; the error names it.
        NotFound: What the request names does not exist.
        Unavailable: The service cannot be reached.
        DeadlineExceeded: The answer did not come in time.
        CorkboardError: Any other refusal, by the families of service_runtime.errors.
    """

    def __init__(
        self,
        *,
        profile: str = PROFILE_TARGET,
        candidate: str = CANDIDATE_TARGET,
        ranking: str = RANKING_TARGET,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.targets = {
            "profile_service": profile,
            "candidate_service": candidate,
            "ranking_service": ranking,
        }
        self._deadline_s = deadline_s
        self._channels = [open_channel(target) for target in self.targets.values()]
        self._profile = profile_grpc.ProfileServiceStub(self._channels[0])
        self._candidate = candidate_grpc.CandidateServiceStub(self._channels[1])
        self._ranking = ranking_grpc.RankingServiceStub(self._channels[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channels; calls under way are cancelled."""
        for channel in self._channels:
            channel.close()

    # What should be shown ------------------------------------------------------------------------

    def recommend(
        self,
        user_id: str,
        *,
        limit: int = 0,
        excluded_pin_ids: Sequence[str] = (),
        include_acted_pins: bool = False,
        language: str = "",
        country: str = "",
        seed: int = 0,
        with_titles: bool = True,
        deadline_s: float = 0.0,
    ) -> answers.Recommendations:
        """What this user should see now, best first.

        Args:
            user_id: For whom; somebody unknown gets a cold-start answer marked so.
            limit: 1 to 500; 0 = the server's default of 25.
            excluded_pin_ids: Pins that must not be in the answer.
            include_acted_pins: Whether pins that the user has acted on may come back.
            language: Of the reader, for example `ja`.
            country: Of the reader, for example `JP`.
            seed: The same seed, data and generations give the same answer; 0 = the server chooses.
            with_titles: Look titles up in the catalogue (one more call).
            deadline_s: 0 = the client's.
        """
        request = ranking_pb2.RecommendPinsRequest(
            user_id=user_id,
            surface=ranking_pb2.SURFACE_HOME_FEED,
            limit=limit,
            viewer=ranking_pb2.Viewer(language=language, country=country),
            excluded_pin_ids=excluded_pin_ids,
            include_acted_pins=include_acted_pins,
            seed=seed,
        )
        return self._recommend(request, with_titles=with_titles, deadline_s=deadline_s)

    def related(
        self,
        query_pin_id: str,
        *,
        user_id: str = "",
        limit: int = 0,
        excluded_pin_ids: Sequence[str] = (),
        include_acted_pins: bool = False,
        language: str = "",
        country: str = "",
        seed: int = 0,
        with_titles: bool = True,
        deadline_s: float = 0.0,
    ) -> answers.Recommendations:
        """What goes with a pin, for everybody or for one user.  Arguments as of `recommend`.

        Raises:
            NotFound: The catalogue does not know the pin.
        """
        request = ranking_pb2.RecommendPinsRequest(
            user_id=user_id,
            surface=ranking_pb2.SURFACE_RELATED_PINS,
            query_pin_id=query_pin_id,
            limit=limit,
            viewer=ranking_pb2.Viewer(language=language, country=country),
            excluded_pin_ids=excluded_pin_ids,
            include_acted_pins=include_acted_pins,
            seed=seed,
        )
        return self._recommend(request, with_titles=with_titles, deadline_s=deadline_s)

    def rank(
        self,
        pin_ids: Sequence[str],
        *,
        user_id: str = "",
        query_pin_id: str = "",
        seed: int = 0,
        with_titles: bool = True,
        deadline_s: float = 0.0,
    ) -> answers.RankedPins:
        """Put given pins, 1 to 1,000 distinct ones, into the order that `recommend` would."""
        request = ranking_pb2.RankPinsRequest(
            user_id=user_id,
            query_pin_id=query_pin_id,
            pin_ids=pin_ids,
            seed=seed,
        )
        response = self._call(self._ranking.RankPins, request, deadline_s)
        titles = self._titles_of_ranked(response.pins) if with_titles else {}
        return decoding.decode_ranked_pins(response, titles)

    def models(self) -> tuple[answers.Model, ...]:
        """The models that can score, and which one does."""
        response = self._call(self._ranking.ListModels, ranking_pb2.ListModelsRequest())
        return decoding.decode_models(response)

    # Who a user is -------------------------------------------------------------------------------

    def record(
        self,
        user_id: str,
        pin_id: str,
        action_type: str = "save",
        *,
        action_id: str = "",
        board_id: str = "",
        list_id: str = "",
    ) -> answers.RecordedAction:
        """Record that a user did something to a pin now; durable when it returns.

        Args:
            user_id: Who.
            pin_id: To which pin; the catalogue need not know it yet.
            action_type: `save`, `click`, `long_click`, `close_up`, `hide`, ….
            action_id: Unique; "" = one is made.  Give your own to make repeating safe.
            board_id: The board of a save.
            list_id: The answer in which the pin was shown.
        """
        action = answers.Action(
            user_id=user_id,
            pin_id=pin_id,
            action_type=action_type,
            action_id=action_id,
            board_id=board_id,
            list_id=list_id,
        )
        return self.record_all([action])[0]

    def record_all(
        self,
        actions: Iterable[answers.Action],
        *,
        allow_partial: bool = False,
        deadline_s: float = 0.0,
    ) -> tuple[answers.RecordedAction, ...]:
        """Record 1 to 10,000 actions in one call; durable when it returns.

        Args:
            actions: Of any users, in any order.
            allow_partial: False: one wrong action refuses all.  True: it alone is refused, with
                code, field and reason in its place of the answer.
            deadline_s: 0 = the client's.

        Returns:
            What became of each, in the order given.
        """
        try:
            messages = [
                decoding.encode_action(action, action.action_id or uuid.uuid4().hex)
                for action in actions
            ]
        except ValueError as error:
            raise InvalidRequest(str(error), field="action_type", reason="ENUM_DEFINED") from error
        request = profile_pb2.RecordActionsRequest(actions=messages, allow_partial=allow_partial)
        response = self._call(self._profile.RecordActions, request, deadline_s)
        return decoding.decode_recorded(request, response)

    def profile(
        self,
        user_id: str,
        *,
        cluster_count_max: int = 0,
        with_titles: bool = True,
    ) -> answers.Profile:
        """The interests of a user; empty and marked as a cold start for somebody unknown."""
        request = profile_pb2.GetProfileRequest(
            user_id=user_id,
            cluster_count_max=cluster_count_max,
        )
        profile = self._call(self._profile.GetProfile, request).profile
        medoids = [cluster.medoid_pin_id for cluster in profile.clusters]
        return decoding.decode_profile(profile, self.titles(medoids) if with_titles else {})

    def actions(self, user_id: str, *, limit: int = 0) -> tuple[answers.Action, ...]:
        """What a user did, newest first; at most *limit*, 1 to 10,000 (0 = 100)."""
        request = profile_pb2.ListActionsRequest(user_id=user_id, limit=limit)
        response = self._call(self._profile.ListActions, request)
        return tuple(decoding.decode_action(action) for action in response.actions)

    def declare(self, user_id: str, pin_ids: Sequence[str]) -> None:
        """Store the interests that a user picked, up to 100 pins; none takes picks back."""
        request = profile_pb2.DeclareInterestsRequest(user_id=user_id, pin_ids=pin_ids)
        self._call(self._profile.DeclareInterests, request)

    def erase(self, user_id: str) -> answers.ErasureReceipt:
        """Forget a user; the receipt names every store that may have known them."""
        request = profile_pb2.EraseUserRequest(user_id=user_id)
        return decoding.decode_receipt(self._call(self._profile.EraseUser, request))

    # What there is -------------------------------------------------------------------------------

    def pins(self, pin_ids: Sequence[str]) -> tuple[answers.Pin, ...]:
        """What the catalogue knows of 1 to 10,000 pins, in the order asked."""
        request = candidate_pb2.GetPinsRequest(pin_ids=pin_ids)
        response = self._call(self._candidate.GetPins, request)
        return tuple(decoding.decode_pin(pin) for pin in response.pins)

    def catalogue(self) -> answers.Catalogue:
        """The candidate sources, and the size and generation of the catalogue."""
        response = self._call(self._candidate.ListSources, candidate_pb2.ListSourcesRequest())
        return decoding.decode_catalogue(response)

    def titles(self, pin_ids: Iterable[str]) -> dict[str, str]:
        """Titles by pin id, without those that have none.

        Titles adorn an answer, so a catalogue that cannot be asked gives none instead of an error.
        """
        wanted = sorted({pin_id for pin_id in pin_ids if pin_id})[:TITLES_PER_CALL]
        if not wanted:
            return {}
        try:
            found = self.pins(wanted)
        except CorkboardError:
            return {}
        return {pin.pin_id: pin.title for pin in found if pin.title}

    def _recommend(
        self,
        request: ranking_pb2.RecommendPinsRequest,
        *,
        with_titles: bool,
        deadline_s: float,
    ) -> answers.Recommendations:
        response = self._call(self._ranking.RecommendPins, request, deadline_s)
        titles = self._titles_of_ranked(response.pins) if with_titles else {}
        return decoding.decode_recommendations(response, titles)

    def _titles_of_ranked(self, pins: Iterable[ranking_pb2.RankedPin]) -> dict[str, str]:
        """Titles of the pins, of those behind them and of their sources' query pins."""
        pins = list(pins)
        wanted = {pin.pin_id for pin in pins} | {pin.because_pin_id for pin in pins}
        wanted.update(source.query_pin_id for pin in pins for source in pin.sources)
        return self.titles(wanted)

    def _call(self, method: Any, request: Any, deadline_s: float = 0.0) -> Any:
        return call(method, request, timeout_s=deadline_s or self._deadline_s)
