"""What should be shown: the verbs of ranking_service."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

from corkboard import answers
from corkboard.calls.candidate import CandidateCalls
from corkboard.decoding import recommendations as decoding
from corkboard.decoding.wire import from_time
from corkboard.questions import Context, Rules, ShownPin
from corkboard.ranking.v1 import ranking_service_pb2 as pb
from service_runtime.errors import CorkboardError

NO_CONTEXT = Context()
NO_RULES = Rules()
MANY_USER_COUNT: Final = 25
"""Users of one call of `recommend_many`: some hundred milliseconds of work, 2,500 pins at most."""
MANY_DEADLINE_S: Final = 30.0


class RankingCalls(CandidateCalls):
    """Recommendations, their reasons, and what is remembered of them."""

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
        context: Context = NO_CONTEXT,
        rules: Rules = NO_RULES,
        explain: bool = False,
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
            context: What the reader is doing now.
            rules: Scenario, page, diversity, rotation, filter.
            explain: Whether every pin comes with a full explanation.
            with_titles: Look titles up in the catalogue (one more call).
            deadline_s: 0 = the client's.
        """
        request = pb.RecommendPinsRequest(
            user_id=user_id,
            surface=pb.SURFACE_HOME_FEED,
            limit=limit,
            viewer=pb.Viewer(language=language, country=country),
            excluded_pin_ids=excluded_pin_ids,
            include_acted_pins=include_acted_pins,
            seed=seed,
            context=decoding.encode_context(context),
            explain=explain,
        )
        decoding.add_rules(request, rules)
        return self._recommend(request, with_titles=with_titles, deadline_s=deadline_s)

    def recommend_many(
        self,
        user_ids: Iterable[str],
        *,
        limit: int = 0,
        rules: Rules = NO_RULES,
        with_titles: bool = False,
        deadline_s: float = MANY_DEADLINE_S,
    ) -> Iterator[tuple[str, answers.Recommendations | CorkboardError]]:
        """What each of many users should see now: for mails and notifications.

        Args:
            user_ids: For whom, any number; they are asked for 25 at a time, as they are taken.
            limit: Pins for each, 1 to 100; 0 = the server's default of 25.
            rules: As of `recommend`.
            with_titles: Look titles up in the catalogue (one more call for each user).
            deadline_s: For each 25 users.

        Yields:
            Each user with the answer, or with the error that `recommend` would have raised.
        """
        rest = iter(user_ids)
        while part := list(islice(rest, MANY_USER_COUNT)):
            request = pb.BatchRecommendPinsRequest()
            for user_id in part:
                one = request.requests.add(
                    user_id=user_id, surface=pb.SURFACE_HOME_FEED, limit=limit
                )
                decoding.add_rules(one, rules)
            response = self._call(self._ranking.BatchRecommendPins, request, deadline_s)
            for user_id, result in zip(part, response.results, strict=True):
                if result.HasField("error"):
                    yield user_id, decoding.decode_error(result.error)
                    continue
                titles = self._titles_of_ranked(result.answer.pins) if with_titles else {}
                yield user_id, decoding.decode_recommendations(result.answer, titles)

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
        context: Context = NO_CONTEXT,
        rules: Rules = NO_RULES,
        explain: bool = False,
        with_titles: bool = True,
        deadline_s: float = 0.0,
    ) -> answers.Recommendations:
        """What goes with a pin, for everybody or for one user.  Arguments as of `recommend`.

        Raises:
            NotFound: The catalogue does not know the pin.
        """
        request = pb.RecommendPinsRequest(
            user_id=user_id,
            surface=pb.SURFACE_RELATED_PINS,
            query_pin_id=query_pin_id,
            limit=limit,
            viewer=pb.Viewer(language=language, country=country),
            excluded_pin_ids=excluded_pin_ids,
            include_acted_pins=include_acted_pins,
            seed=seed,
            context=decoding.encode_context(context),
            explain=explain,
        )
        decoding.add_rules(request, rules)
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
        request = pb.RankPinsRequest(
            user_id=user_id,
            query_pin_id=query_pin_id,
            pin_ids=pin_ids,
            seed=seed,
        )
        response = self._call(self._ranking.RankPins, request, deadline_s)
        titles = self._titles_of_ranked(response.pins) if with_titles else {}
        return decoding.decode_ranked_pins(response, titles)

    def explain(
        self,
        pin_id: str,
        *,
        user_id: str = "",
        query_pin_id: str = "",
        limit: int = 0,
        seed: int = 0,
        context: Context = NO_CONTEXT,
        rules: Rules = NO_RULES,
        with_titles: bool = True,
        deadline_s: float = 0.0,
    ) -> answers.PinExplanation:
        """Why a pin is, or is not, in the answer that the other arguments would give.

        Args:
            pin_id: The pin in question.
            user_id: For whom; may be "" with a query pin.
            query_pin_id: "" = the home feed, else related pins of it.
            limit: Of that answer; 0 = the server's default of 25.
            seed: Of that answer.
            context: As of `recommend`.
            rules: As of `recommend`.
            with_titles: Look titles up in the catalogue (one more call).
            deadline_s: 0 = the client's.
        """
        asked = pb.RecommendPinsRequest(
            user_id=user_id,
            surface=pb.SURFACE_RELATED_PINS if query_pin_id else pb.SURFACE_HOME_FEED,
            query_pin_id=query_pin_id,
            limit=limit,
            seed=seed,
            context=decoding.encode_context(context),
            explain=True,
        )
        decoding.add_rules(asked, rules)
        request = pb.ExplainPinRequest(request=asked, pin_id=pin_id)
        response = self._call(self._ranking.ExplainPin, request, deadline_s)
        titles = self._titles_of_ranked([response.pin]) if with_titles else {}
        return decoding.decode_pin_explanation(response, titles)

    def record_impressions(
        self,
        list_id: str,
        pins: Sequence[ShownPin],
        *,
        user_id: str = "",
        query_pin_id: str = "",
        platform: str = "",
        impression_time: datetime | None = None,
    ) -> int:
        """Record what a client really showed, 1 to 500 pins of one answer.

        Args:
            list_id: The answer it came from.
            pins: Each with the position it was shown at.
            user_id: To whom.
            query_pin_id: Under which pin; "" = on the home feed.
            platform: The kind of client.
            impression_time: When; None = now.

        Returns:
            How many were recorded now; pins recorded before are not among them.
        """
        request = pb.RecordImpressionsRequest(
            list_id=list_id,
            user_id=user_id,
            query_pin_id=query_pin_id,
            platform=platform,
            pins=[
                pb.ShownPin(pin_id=pin.pin_id, position=pin.position, is_inserted=pin.is_inserted)
                for pin in pins
            ],
            impression_time=from_time(impression_time),
        )
        return int(self._call(self._ranking.RecordImpressions, request).recorded_count)

    def memboost(self, query_pin_id: str, result_pin_id: str) -> answers.Memboost:
        """What is remembered of a pin under a query pin; "" = on the home feed."""
        request = pb.GetMemboostRequest(query_pin_id=query_pin_id, result_pin_id=result_pin_id)
        return decoding.decode_memboost(self._call(self._ranking.GetMemboost, request))

    def reset_memboost(
        self,
        *,
        query_pin_id: str = "",
        result_pin_id: str = "",
        begin_time: datetime | None = None,
        end_time: datetime | None = None,
        reason: str = "",
    ) -> answers.MemboostReset:
        """Forget what is remembered; at least one field must be given, and all that are must hold.

        Args:
            query_pin_id: "" = any.
            result_pin_id: "" = any.
            begin_time: Impressions from here on; None = from the first.
            end_time: Impressions before this; None = until now.
            reason: For the audit log.
        """
        request = pb.ResetMemboostRequest(
            query_pin_id=query_pin_id,
            result_pin_id=result_pin_id,
            begin_time=from_time(begin_time),
            end_time=from_time(end_time),
            reason=reason,
        )
        response = self._call(self._ranking.ResetMemboost, request)
        return answers.MemboostReset(response.pair_count, response.reset_id)

    def experiment(self, name: str) -> answers.Experiment:
        """What the arms of an experiment earned.

        Raises:
            NotFound: There is no experiment of that name.
        """
        request = pb.GetExperimentRequest(experiment=name)
        return decoding.decode_experiment(self._call(self._ranking.GetExperiment, request))

    def models(self) -> tuple[answers.Model, ...]:
        """The models that can score, and which one does."""
        response = self._call(self._ranking.ListModels, pb.ListModelsRequest())
        return decoding.decode_models(response)

    def _recommend(
        self,
        request: pb.RecommendPinsRequest,
        *,
        with_titles: bool,
        deadline_s: float,
    ) -> answers.Recommendations:
        response = self._call(self._ranking.RecommendPins, request, deadline_s)
        titles = self._titles_of_ranked(response.pins) if with_titles else {}
        return decoding.decode_recommendations(response, titles)

    def _titles_of_ranked(self, pins: Iterable[pb.RankedPin]) -> dict[str, str]:
        """Titles of the pins, of those behind them and of their sources' query pins."""
        pins = list(pins)
        wanted = {pin.pin_id for pin in pins} | {pin.because_pin_id for pin in pins}
        wanted.update(source.query_pin_id for pin in pins for source in pin.sources)
        return self.titles(wanted)
