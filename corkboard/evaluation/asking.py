"""Ask candidate_service for many people, as ranking_service asks it for a home feed."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from corkboard.answers import Profile, SourceList
from corkboard.client import Client
from corkboard.evaluation.choices import Start
from corkboard.evaluation.split import LeakFound
from corkboard.questions import CandidateQuestion, QueryPin
from service_runtime.errors import CorkboardError, ProcessFailed

ACTED_PINS_MAX = 10_000
RECENT_ACTIONS_MAX = 100
RECENT_STARTS_MAX = 2
RECENT_HOURS = 24.0
HISTORY_PINS_MAX = 100
WEIGHT_MIN = 1e-6
FAILED_SHARE_MAX = 0.05
ASKING_THREADS = 2


class AskingFailed(ProcessFailed):
    """Too many people got no answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One user's answer.

    Attributes:
        user_id: Whose.
        lists: One for each source.
        seconds: From the question to the answer, as the caller waited.
    """

    user_id: str
    lists: tuple[SourceList, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Terms:
    """How everybody is asked.

    Attributes:
        start: What a question starts from.
        as_of: When, Unix seconds; the services' clocks stand still there.
        quota: Candidates of each source.
        source_names: The sources to ask.
        seed: The same seed, data and generations give the same answers.
    """

    start: Start
    as_of: float
    quota: int
    source_names: Sequence[str]
    seed: int = 0


def ask_everybody(
    client: Client,
    held: dict[str, frozenset[str]],
    terms: Terms,
    say: Callable[[str], None] = lambda _: None,
) -> list[Asked]:
    """Ask for each user, two at a time.

    Args:
        client: Of the services on the scratch root.
        held: By user, the pins that are asked for; no profile may know one.
        terms: How everybody is asked.
        say: Told how it gets on.

    Raises:
        LeakFound: A profile knows a pin that is asked for, or an action after the split.
        AskingFailed: More than a twentieth of the people got no answer.
    """
    failures: list[str] = []

    def ask(numbered: tuple[int, str]) -> Asked | None:
        number, user_id = numbered
        try:
            return _ask(client, user_id, held[user_id], terms, number)
        except LeakFound:
            raise
        except CorkboardError as error:
            failures.append(f"{user_id}: {error.message}")
            return None

    answers = []
    with ThreadPoolExecutor(ASKING_THREADS) as pool:
        for done, answer in enumerate(pool.map(ask, enumerate(held)), start=1):
            if answer is not None:
                answers.append(answer)
            if done % 20 == 0:
                say(f"asking, {done} of {len(held)} people")
    if len(failures) > FAILED_SHARE_MAX * len(held):
        raise AskingFailed(f"{len(failures)} of {len(held)} people got no answer: {failures[0]}")
    return answers


def _ask(client: Client, user_id: str, held: frozenset[str], terms: Terms, number: int) -> Asked:
    profile = client.profile(
        user_id,
        acted_pin_count_max=ACTED_PINS_MAX,
        recent_action_count_max=RECENT_ACTIONS_MAX,
        with_titles=False,
    )
    check_profile(profile, held, terms.as_of)
    question = make_question(profile, terms, seed=terms.seed * 1_000_003 + number + 1)
    begin = time.perf_counter()
    answer = client.candidates(question)
    return Asked(user_id, answer.lists, time.perf_counter() - begin)


def make_question(profile: Profile, terms: Terms, *, seed: int) -> CandidateQuestion:
    """What ranking_service would ask for this profile, or the whole history as query pins."""
    session = tuple(dict.fromkeys(action.pin_id for action in profile.recent_actions))
    largest = max((cluster.importance for cluster in profile.clusters), default=0.0) or 1.0
    medoids = [
        QueryPin(cluster.medoid_pin_id, max(cluster.importance / largest, WEIGHT_MIN))
        for cluster in profile.clusters
    ]
    query_pins = _recent_starts(profile, terms.as_of)
    if terms.start is Start.HISTORY:
        acted = dict.fromkeys((*session, *profile.acted_pin_ids))
        query_pins, medoids = [QueryPin(pin_id) for pin_id in acted][:HISTORY_PINS_MAX], []
    return CandidateQuestion(
        query_pins=query_pins,
        medoids=medoids,
        sources=dict.fromkeys(terms.source_names, terms.quota),
        session_pin_ids=session[:HISTORY_PINS_MAX],
        declared_pin_ids=profile.declared_pin_ids[:HISTORY_PINS_MAX],
        excluded_pin_ids=profile.acted_pin_ids,
        language=profile.language,
        country=profile.country,
        seed=seed,
    )


def check_profile(profile: Profile, held: frozenset[str], as_of: float) -> None:
    """Fail if a profile knows what is asked for, or anything after the split.

    Raises:
        LeakFound: It does.
    """
    known = {*profile.acted_pin_ids, *(action.pin_id for action in profile.recent_actions)}
    if leaked := known & held:
        raise LeakFound(
            f"the profile of {profile.user_id} knows {len(leaked)} pins that are asked for, "
            f"{min(leaked)} among them"
        )
    moments = [cluster.newest_action_time for cluster in profile.clusters]
    moments += [action.action_time for action in profile.recent_actions]
    newest = max((moment.timestamp() for moment in moments if moment is not None), default=0.0)
    if newest > as_of + 1e-3:
        raise LeakFound(f"the profile of {profile.user_id} knows an action after the split")


def _recent_starts(profile: Profile, as_of: float) -> list[QueryPin]:
    """The newest distinct pins of the last day, as ranking_service adds them to the medoids."""
    starts: dict[str, QueryPin] = {}
    for action in profile.recent_actions:
        if action.action_time is None or not _is_within_day(action.action_time, as_of):
            continue
        pin = QueryPin(action.pin_id, 1.0, action.action_type, action.action_time)
        starts.setdefault(action.pin_id, pin)
    return list(starts.values())[:RECENT_STARTS_MAX]


def _is_within_day(moment: datetime, as_of: float) -> bool:
    now = datetime.fromtimestamp(as_of, tz=moment.tzinfo)
    return now - moment <= timedelta(hours=RECENT_HOURS)
