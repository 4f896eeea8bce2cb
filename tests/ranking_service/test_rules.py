"""The rules of serving: pages, diversity, caps, promotions, rotation, boosts, scenarios, chance."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service import rule_kernels
from ranking_service.arrange import at_most_of_each, first_of_each, promote
from ranking_service.choice import is_in_random_slice
from ranking_service.explanations import Absence
from ranking_service.page_book import PageBook
from ranking_service.page_token import PIN_COUNT_MAX, first_page, open_token
from ranking_service.profile import empty_profile
from ranking_service.query import PinFilter, Surface
from ranking_service.rotation import held_back
from service_runtime.errors import InvalidRequest, NotFound
from service_runtime.generation_store import GenerationStore
from service_runtime.telemetry import Metrics
from tests.ranking_service import test_recommend
from tests.ranking_service.test_recommend import CANDIDATES, PROFILE, ask, names
from tests.ranking_service.worlds import (
    DAY,
    NOW,
    make_candidates,
    make_list,
    make_shown_lately,
    make_store,
    pin_id,
    publish_catalogue,
    unit_vectors,
)

PIN_COUNT = 60
RELATED = ask(surface=Surface.RELATED_PINS, query_pin_id=pin_id(0), limit=20)
EVERYTHING = make_candidates(make_list("ann", range(1, 60)), queried=[0])


@pytest.fixture(scope="module")
def store(tmp_path_factory: Any) -> Any:
    """A random world."""
    return make_store(tmp_path_factory.mktemp("world"), PIN_COUNT)


def make(store: Any, **settings: Any) -> Any:
    """A recommender for somebody of whom nothing is known."""
    return test_recommend.make(store, **{"profile": empty_profile(), **settings})


def owned(folder: Path, owners: Any, **columns: Any) -> Any:
    """A world whose pins have these owners."""
    made = GenerationStore(folder)
    publish_catalogue(made, PIN_COUNT, columns={"owner_id": owners, **columns})
    return made


class TestPages:
    """Next pages and lists of a page show no pin twice."""

    @pytest.mark.parametrize("limit", [3, 7, 20])
    def test_pages_show_everything_once(self, store: Any, limit: int) -> None:
        """From the first page to the last, with no pin twice and hardly one left out."""
        recommender, _, _ = make(store, candidates=EVERYTHING)
        request = replace(RELATED, limit=limit)
        whole = names(recommender.recommend(replace(RELATED, limit=100)))
        shown, pages = [], 0
        while pages < 50:
            answer = recommender.recommend(replace(request, page_token=request.page_token))
            shown += names(answer)
            pages += 1
            if not answer.next_page_token:
                break
            assert len(answer.next_page_token) <= 256
            request = replace(
                request, page_token=answer.next_page_token, request_id=f"r{pages}", seed=pages
            )

        assert len(shown) == len(set(shown))
        assert set(shown) <= set(whole)
        assert len(shown) >= len(whole) - 2
        assert shown[:limit] == whole[:limit]

    def test_a_page_goes_on_with_the_seed_of_the_first(self, store: Any) -> None:
        """The same interests are sampled on every page."""
        recommender, upstream, _ = make(store, candidates=EVERYTHING)
        first = recommender.recommend(ask(seed=77, limit=5))

        recommender.recommend(ask(seed=5, limit=5, page_token=first.next_page_token))

        assert [question.seed for question in upstream.asked] == [77, 77]

    def test_a_pin_that_was_shown_is_never_missed(self) -> None:
        """However full the filter is; the share of mistaken others is as told."""
        rng = np.random.default_rng(0)
        token = first_page(ask())
        shown = rng.integers(1, 2**63, PIN_COUNT_MAX, dtype=np.uint64)
        others = rng.integers(1, 2**63, 20_000, dtype=np.uint64)
        for count, mistaken_max in ((100, 0.01), (250, 0.1), (PIN_COUNT_MAX, 0.85)):
            full = token.with_shown(shown[:count], count, NOW)
            assert full.has(shown[:count]).all()
            assert full.has(others).mean() < mistaken_max
        assert token.with_shown(shown, PIN_COUNT_MAX, NOW).encode() == ""

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"user_id": "somebody else"}, "PAGE_TOKEN_FOREIGN"),
            ({"query_pin_id": pin_id(3)}, "PAGE_TOKEN_FOREIGN"),
            ({"surface": Surface.HOME_FEED, "query_pin_id": ""}, "PAGE_TOKEN_FOREIGN"),
            ({"page_token": "nonsense"}, "PAGE_TOKEN_DAMAGED"),
            ({"page_token": "é" * 20}, "PAGE_TOKEN_DAMAGED"),
        ],
    )
    def test_a_wrong_token_is_refused(self, store: Any, change: Any, reason: str) -> None:
        """Of somebody else, or no token at all."""
        recommender, _, _ = make(store, candidates=EVERYTHING)
        token = recommender.recommend(replace(RELATED, limit=5)).next_page_token

        with pytest.raises(InvalidRequest) as caught:
            recommender.recommend(replace(RELATED, **{"page_token": token, **change}))

        assert (caught.value.field, caught.value.reason) == ("page_token", reason)

    @given(place=st.integers(0, 240), letter=st.sampled_from("0aZ~"))
    @settings(max_examples=30, deadline=None)
    def test_a_damaged_token_is_refused(self, place: int, letter: str) -> None:
        """A changed letter is noticed."""
        query = ask()
        token = first_page(query).with_shown(np.array([7], np.uint64), 1, NOW).encode()
        place %= len(token)
        damaged = token[:place] + letter + token[place + 1 :]
        if damaged == token:
            return

        with pytest.raises(InvalidRequest):
            open_token(replace(query, page_token=damaged), NOW, 1800)

    def test_a_token_is_good_for_half_an_hour(self) -> None:
        """After its last use, that is."""
        query = ask()
        token = first_page(query).with_shown(np.array([7], np.uint64), 1, NOW)
        asked = replace(query, page_token=token.encode())

        assert open_token(asked, NOW + 1799, 1800).shown_count == 1
        with pytest.raises(InvalidRequest, match="30 minutes"):
            open_token(asked, NOW + 1802, 1800)

    def test_lists_of_a_page_show_no_pin_twice(self, store: Any) -> None:
        """Whatever the surface; other pages and users are not concerned."""
        recommender, _, _ = make(store, candidates=EVERYTHING)

        lists = [
            names(recommender.recommend(replace(RELATED, limit=15, page_id="p"))),
            names(recommender.recommend(ask(limit=15, page_id="p"))),
            names(recommender.recommend(replace(RELATED, limit=15, page_id="p"))),
        ]
        other_page = names(recommender.recommend(replace(RELATED, limit=15, page_id="q")))
        other_user = names(
            recommender.recommend(replace(RELATED, limit=15, page_id="p", user_id="other"))
        )

        together = [name for some in lists for name in some]
        assert len(together) == 45 == len(set(together))
        assert other_page == other_user == lists[0]

    def test_lists_asked_for_at_once_share_a_page(self, tmp_path: Path) -> None:
        """Twenty threads each take ten of a thousand: none takes what another has."""
        book = PageBook(tmp_path, 1800, lambda: NOW)
        taken: list[list[int]] = []

        def choose() -> None:
            with book.open("u", "p", NOW) as page:
                free = np.setdiff1d(np.arange(1, 1001, dtype=np.uint64), page.shown)[:10]
                page.added = free
                taken.append(free.tolist())

        threads = [Thread(target=choose) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        everything = [key for keys in taken for key in keys]
        assert len(everything) == 200 == len(set(everything))

    def test_an_old_page_is_forgotten(self, tmp_path: Path) -> None:
        """After its lifetime it begins anew, and its file goes."""
        book = PageBook(tmp_path, 1800, lambda: NOW)
        with book.open("u", "p", NOW) as page:
            page.added = np.array([5], np.uint64)

        with book.open("u", "p", NOW + 1700) as page:
            assert page.shown.tolist() == [5]
        assert book.sweep(NOW + 1700) == 0
        with book.open("u", "p", NOW + 4000) as page:
            assert page.shown.tolist() == []
        later = iter([NOW, NOW + 100, NOW + 4000])
        polled = PageBook(tmp_path, 1800, lambda: next(later))
        assert [polled.poll(), polled.poll()] == [False, True]
        assert list(tmp_path.iterdir()) == []


class TestDuplicates:
    """Pins that show the same picture."""

    def test_one_of_a_group_is_shown(self, store: Any) -> None:
        """The best one; on the next page none of them."""
        rows = np.arange(1, 60, dtype=np.int32)
        twins = replace(EVERYTHING, grouped_rows=rows[:40], groups=np.repeat([3, 9], 20))
        recommender, _, _ = make(store, candidates=twins)

        whole = recommender.recommend(replace(RELATED, limit=100))
        first = recommender.recommend(replace(RELATED, limit=21))
        second = recommender.recommend(replace(RELATED, page_token=first.next_page_token))
        explanation, _ = recommender.explain(
            RELATED, next(pin_id(r) for r in range(1, 21) if pin_id(r) not in names(whole))
        )

        groups = Counter(
            3 if int(name[4:]) <= 20 else 9 for name in names(whole) if int(name[4:]) <= 40
        )
        assert groups == {3: 1, 9: 1}
        shown_groups = {int(name[4:]) <= 20 for name in names(first) if int(name[4:]) <= 40}
        later = {int(name[4:]) <= 20 for name in names(second) if int(name[4:]) <= 40}
        assert not shown_groups & later
        assert explanation.absence == Absence.REMOVED_BY_RULE
        assert "duplicate" in explanation.detail

    def test_first_of_each_group(self) -> None:
        """Group 0 is no group."""
        groups = np.array([0, 5, 5, 0, 2, 5, 2], np.int32)

        assert first_of_each(groups).tolist() == [True, True, False, True, True, False, False]
        assert first_of_each(groups[:0]).tolist() == []


class TestOwners:
    """Caps per owner."""

    def test_no_owner_has_more_than_the_cap(self, tmp_path: Path) -> None:
        """The best ones of each; pins of nobody are not capped."""
        owners = [None, *(["a", "b", None] * 20)[:59]]
        made = owned(tmp_path, owners)
        recommender, _, _ = make(made, candidates=EVERYTHING, owner_pin_count_max=4)

        answer = recommender.recommend(replace(RELATED, limit=100))
        free = make(made, candidates=EVERYTHING, owner_pin_count_max=0)[0]
        whole = names(free.recommend(replace(RELATED, limit=100)))
        counts = Counter(owners[int(name[4:])] for name in names(answer))

        assert (counts["a"], counts["b"]) == (4, 4)
        assert counts[None] == sum(owner is None for owner in owners[1:])
        of_a = [name for name in whole if owners[int(name[4:])] == "a"]
        assert [name for name in names(answer) if owners[int(name[4:])] == "a"] == of_a[:4]

    def test_at_most_of_each(self) -> None:
        """In order, key 0 without limit."""
        keys = np.array([7, 0, 7, 7, 0, 8, 0, 7], np.uint64)

        kept = at_most_of_each(keys, 2)

        assert kept.tolist() == [True, True, True, False, True, True, True, False]


class TestDiversity:
    """Maximal marginal relevance."""

    @given(seed=st.integers(0, 2**32 - 1), diversity=st.floats(0, 1))
    @settings(max_examples=40, deadline=None)
    def test_the_kernel_does_what_the_formula_says(self, seed: int, diversity: float) -> None:
        """Each choice is the best one by the slow and obvious way."""
        rng = np.random.default_rng(seed)
        relevances = np.sort(rng.random(12))[::-1].copy()
        vectors = unit_vectors(12, 6, seed)
        vectors[3] = 0

        order = rule_kernels.marginal_order(relevances, vectors, diversity, 8).tolist()

        assert sorted(order) == list(range(12))
        cosines = vectors @ vectors.T
        for step in range(8):
            chosen, rest = order[:step], order[step:]
            gains = {
                place: (1 - diversity) * relevances[place]
                - diversity * max([0.0, *(float(cosines[place, one]) for one in chosen)])
                for place in rest
            }
            assert gains[order[step]] == pytest.approx(max(gains.values()), abs=1e-5)
        assert order[8:] == sorted(order[8:])

    def test_more_diversity_makes_lists_less_alike(self, store: Any) -> None:
        """From 0, which changes nothing, to 1."""
        recommender, _, _ = make(store, candidates=EVERYTHING)
        vectors = make(store)[0]._artifacts.world().vectors

        def likeness(diversity: float) -> float:
            answer = recommender.recommend(replace(RELATED, limit=10, diversity=diversity))
            rows = [int(name[4:]) for name in names(answer)]
            cosines = vectors[rows] @ vectors[rows].T
            return float(cosines[np.triu_indices(10, 1)].mean())

        plain = recommender.recommend(replace(RELATED, limit=10))
        same = recommender.recommend(replace(RELATED, limit=10, diversity=0.0))
        assert names(plain) == names(same)
        assert likeness(1.0) < likeness(0.5) < likeness(0.0)
        moved = recommender.recommend(replace(RELATED, limit=10, diversity=0.7, is_explained=True))
        rules = {rule.rule for pin in moved.pins for rule in pin.explanation.rules}
        assert rules == {"diversity"}


class TestRotation:
    """Pins shown lately are held back."""

    def test_what_was_shown_gives_way_and_comes_back(self, store: Any) -> None:
        """At rate 1 the second answer has other pins; at rate 0 the same ones."""
        recommender, _, _ = make(store, candidates=EVERYTHING)
        request = replace(RELATED, limit=10, rotation_rate=1.0, rotation_seconds=3600.0)

        first = names(recommender.recommend(request))
        second = names(recommender.recommend(request))
        still = names(recommender.recommend(replace(request, rotation_rate=0.0)))
        times, keys = recommender._lately.of("user", NOW - 1)

        assert not set(first) & set(second)
        assert still == first
        assert times.tolist() == [NOW] * 20  # a request that does not rotate is not kept
        assert len(set(keys.tolist())) == 20

    def test_another_process_knows_what_the_first_one_showed(
        self, store: Any, tmp_path: Path
    ) -> None:
        """Two recommenders over one folder, as replicas have it: the second gives way."""
        request = replace(RELATED, limit=10)
        book = "[scenarios.related_pins]\nrotation_rate = 1.0\n"
        answers = []
        for _ in range(2):
            recommender, _, _ = make(store, candidates=EVERYTHING, book=book)
            recommender._lately = make_shown_lately(tmp_path)
            answers.append(names(recommender.recommend(request)))

        assert not set(answers[0]) & set(answers[1])

    def test_many_processes_lose_nothing(self, tmp_path: Path) -> None:
        """Eight at once write for the same user; every list is there, none torn."""

        def show(number: int) -> None:
            lately = make_shown_lately(tmp_path)
            for step in range(20):
                keys = np.arange(5, dtype=np.uint64) + np.uint64(1 + 5 * (20 * number + step))
                lately.note("user", keys, NOW + step)

        threads = [Thread(target=show, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _, keys = make_shown_lately(tmp_path).of("user", NOW)

        assert sorted(keys.tolist()) == list(range(1, 801))

    def test_a_torn_or_unwritable_file_costs_no_answer(self, tmp_path: Path) -> None:
        """What is whole of a torn file counts; what cannot be kept is counted."""
        metrics = Metrics("ranking_service")
        lately = make_shown_lately(tmp_path / "lately", metrics=metrics)
        lately.note("user", np.array([1, 2], np.uint64), NOW)
        (file,) = (tmp_path / "lately").iterdir()
        file.write_bytes(file.read_bytes()[:-3])
        assert lately.of("user", 0)[1].tolist() == [1]
        file.unlink()
        file.mkdir()
        lately.note("user", np.array([3], np.uint64), NOW)

        assert lately.of("user", 0)[1].size == 0
        assert "rotation_lists_dropped_total 2.0" in metrics.text()

    def test_the_penalty_fades(self) -> None:
        """By rate and age in a straight line, never above nothing."""
        keys = np.array([1, 2], np.uint64)
        shown = (np.array([NOW - 50]), keys[:1])

        full, half, none = (
            np.exp(held_back(keys, shown, rate=0.5, seconds=seconds, now=NOW)).tolist()
            for seconds in (1e9, 100.0, 50.0)
        )

        assert full == pytest.approx([0.5, 1.0], abs=1e-6)
        assert half == pytest.approx([0.75, 1.0])
        assert none == [1.0, 1.0]
        assert held_back(keys, shown, rate=1.0, seconds=0.0, now=NOW).tolist() == [0.0, 0.0]
        empty = (np.empty(0), keys[:0])
        assert held_back(keys, empty, rate=1.0, seconds=9.0, now=NOW).tolist() == [0.0, 0.0]
        times = np.array([NOW - 90, NOW - 90, NOW, NOW - 50, NOW - 50])
        twice = (times, np.array([1, 2, 2, 1, 2], np.uint64))
        latest = np.exp(held_back(keys, twice, rate=1.0, seconds=100.0, now=NOW)).tolist()
        assert latest == pytest.approx([0.5, 1e-6])

    def test_the_memory_of_users_is_bounded(self, tmp_path: Path) -> None:
        """The one that was shown nothing for longest goes first; nobody is nobody."""
        now = iter([NOW, NOW + 1000, NOW + 2 * DAY])
        lately = make_shown_lately(tmp_path, 2, clock=lambda: next(now))
        for age, user in enumerate(("c", "", "b", "a")):
            lately.note(user, np.array([1], np.uint64), NOW - age)
        assert lately.poll()
        counts = [lately.count(user) for user in ("a", "b", "", "c")]
        forgotten = lately.forget("b")
        many = np.arange(1, 4001, dtype=np.uint64)
        for _ in range(6):
            lately.note("c", many, NOW + DAY)
        bounded = lately.count("c")
        bytes_kept = max(file.stat().st_size for file in tmp_path.iterdir())
        assert not lately.poll()  # a day and a bit: c is kept

        assert counts == [0, 1, 0, 1]
        assert forgotten == 1
        assert lately.count("b") == 0
        assert bounded == 5000
        assert bytes_kept <= 16 * (2 * 5000 + 4000)


class TestPromotions:
    """A share of the places, under a name."""

    BOOK = f"""
        [scenarios.related_pins]
        promotions = ["spring"]
        [promotions.spring]
        share = 0.2
        first_position = 1
        pin_ids = ["{pin_id(59)}", "{pin_id(5)}", "{pin_id(58)}", "nobody knows"]
    """

    def test_promoted_pins_get_their_places_and_say_so(self, store: Any) -> None:
        """Spread from the first place on, at most the share, put among the candidates."""
        lists = make_candidates(make_list("ann", range(1, 50)), queried=[0])
        recommender, upstream, impressions = make(store, candidates=lists, book=self.BOOK)

        answer = recommender.recommend(replace(RELATED, limit=10))
        upstream.hidden = frozenset({pin_id(59), pin_id(58)})
        fewer = recommender.recommend(replace(RELATED, limit=10))
        filtered = recommender.recommend(replace(RELATED, limit=10, filter=PinFilter("a = 1")))

        promoted = [place for place, pin in enumerate(answer.pins) if pin.promotion]
        assert promoted == [1, 5]
        assert {answer.pins[place].promotion for place in promoted} == {"spring"}
        allowed = {pin_id(59), pin_id(58), pin_id(5)}
        assert {answer.pins[place].pin_id for place in promoted} <= allowed
        assert len(set(names(answer))) == 10
        assert impressions.kept[0][0].pins[1].promotion == "spring"
        assert not {pin_id(59), pin_id(58)} & set(names(fewer))
        assert not {pin_id(59), pin_id(58)} & set(names(filtered))

    @given(
        seed=st.integers(0, 2**32 - 1),
        share=st.floats(0.01, 1),
        first=st.integers(0, 30),
        limit=st.integers(1, 30),
    )
    @settings(max_examples=60, deadline=None)
    def test_a_promotion_moves_and_loses_nothing(
        self, seed: int, share: float, first: int, limit: int
    ) -> None:
        """The same places, the others in their order, no more than the share promoted."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(20)
        is_promoted = rng.random(20) < 0.3

        placed, taken = promote(order, is_promoted, share=share, first_position=first, limit=limit)

        assert sorted(placed.tolist()) == sorted(order.tolist())
        assert len(taken) <= share * limit + 1e-9
        rest = [place for place in order.tolist() if place not in taken]
        assert [place for place in placed.tolist() if place not in taken] == rest
        positions = [placed.tolist().index(place) for place in taken]
        assert all(first <= at < limit for at in positions)


class TestNamedRules:
    """Boosts and exclusions from the scenario file."""

    def test_boosts_and_exclusions_apply_by_conditions(self, tmp_path: Path) -> None:
        """By topic, language, country, age, owner, pin and source; a young pin as well."""
        columns = {
            "topics": [["art"] if row % 2 else ["food"] for row in range(PIN_COUNT)],
            "language": ["ja" if row % 3 else None for row in range(PIN_COUNT)],
            "creation_time_us": [int((NOW - row * DAY) * 1e6) for row in range(PIN_COUNT)],
        }
        owners = ["shop" if row > 50 else None for row in range(PIN_COUNT)]
        made = owned(tmp_path, owners, **columns)
        cases = {
            'topics = ["art", "unheard of"]': lambda row: row % 2 == 1,
            'languages = ["ja"]': lambda row: row % 3 > 0,
            'countries = ["NL"]': lambda _: False,
            'owner_ids = ["shop"]': lambda row: row > 50,
            "age_days_max = 10.5": lambda row: row <= 10,
            "age_days_min = 10.5": lambda row: row > 10,
            f'pin_ids = ["{pin_id(7)}"]': lambda row: row == 7,
            'sources = ["pixie"]': lambda row: row < 9,
            'topics = ["food"]\nage_days_max = 20.5': lambda row: row % 2 == 0 and row <= 20,
        }
        lists = make_candidates(
            make_list("ann", range(1, 60)), make_list("pixie", range(1, 9)), queried=[0]
        )
        for when, holds in cases.items():
            fulfilling = {pin_id(row) for row in range(1, 60) if holds(row)}
            book = '[scenarios.related_pins]\nrules = ["r"]\n[rules.r]\nexclude = true\n'
            book += f"[rules.r.when]\n{when}"
            recommender, _, _ = make(made, candidates=lists, book=book, owner_pin_count_max=0)
            left = set(names(recommender.recommend(replace(RELATED, limit=100))))
            assert left == {pin_id(row) for row in range(1, 60)} - fulfilling, when
            boosted = book.replace("exclude = true", "boost = 19")
            recommender, _, _ = make(made, candidates=lists, book=boosted, owner_pin_count_max=0)
            order = names(recommender.recommend(replace(RELATED, limit=100)))
            assert set(order[: len(fulfilling)]) == fulfilling, when
            if fulfilling:
                absent, _ = make(made, candidates=lists, book=book)[0].explain(
                    RELATED, min(fulfilling)
                )
                assert absent.absence == Absence.EXCLUDED
                assert "rule:r" in absent.detail

    def test_a_least_score_gives_fewer_pins(self, store: Any) -> None:
        """Rather than fillers; what is left out is explained."""
        recommender, _, _ = make(store, candidates=EVERYTHING)
        scores = [pin.score for pin in recommender.recommend(replace(RELATED, limit=100)).pins]
        least = sorted(scores)[30]

        answer = recommender.recommend(replace(RELATED, limit=100, score_min=least))
        explanation, _ = recommender.explain(
            replace(RELATED, score_min=least),
            names(recommender.recommend(replace(RELATED, limit=100)))[-1],
        )

        assert len(answer.pins) == sum(score >= least for score in scores)
        assert min(pin.score for pin in answer.pins) >= least
        assert (explanation.absence, "score_min" in explanation.detail) == (
            Absence.REMOVED_BY_RULE,
            True,
        )


class TestScenarios:
    """Which configuration a request gets."""

    BOOK = """
        [scenarios.shelf]
        surface = "home_feed"
        owner_pin_count_max = 3
        sources = { pixie = 50, popular = 0 }
        [scenarios.related_pins]
        diversity = 0.5
    """

    def test_a_scenario_is_chosen_by_name_or_by_surface(self, store: Any) -> None:
        """Quotas go to candidate_service; the answer says which scenario it was."""
        recommender, upstream, _ = make(store, book=self.BOOK)

        shelf = recommender.recommend(ask(scenario="shelf"))
        plain = recommender.recommend(ask())
        related = recommender.recommend(RELATED)

        assert [a.scenario for a in (shelf, plain, related)] == [
            "shelf",
            "home_feed",
            "related_pins",
        ]
        assert upstream.asked[0].quotas == (("pixie", 50), ("popular", 0))
        assert upstream.asked[1].quotas == ()

    def test_an_unknown_or_foreign_scenario_is_refused(self, store: Any) -> None:
        """Before anybody is asked."""
        recommender, upstream, _ = make(store, book=self.BOOK)

        with pytest.raises(NotFound, match="nowhere"):
            recommender.recommend(ask(scenario="nowhere"))
        with pytest.raises(InvalidRequest, match="home_feed"):
            recommender.recommend(replace(RELATED, scenario="shelf"))
        assert upstream.asked == []

    def test_a_file_is_reloaded_and_a_bad_one_refused(self, store: Any) -> None:
        """While serving; what served before goes on."""
        recommender, _, _ = make(store, book=self.BOOK)
        planner, path = recommender._gatherer._planner, recommender._gatherer._planner._path

        path.write_text(
            "[scenarios.fresh_shelf]\nscore_min = 0.5\n# longer than before " + "x" * 99
        )
        assert planner.poll()
        assert planner.plan(ask(scenario="fresh_shelf")).score_min == 0.5
        path.write_text("[scenarios.broken]\nscore_min = 7")
        assert not planner.poll()
        assert planner.plan(ask(scenario="fresh_shelf")).score_min == 0.5
        assert not planner.poll(), "told once"


class TestChance:
    """The random slice."""

    def test_the_slice_has_its_share_of_requests(self) -> None:
        """Told by the request id; 5 standard deviations around 1 % of 100,000."""
        hits = sum(is_in_random_slice(f"request {number}", 0.01) for number in range(100_000))

        assert abs(hits - 1000) < 5 * 32
        assert not is_in_random_slice("x", 0.0)
        assert is_in_random_slice("x", 1.0)

    def test_a_random_answer_is_marked_and_its_chances_logged(self, store: Any) -> None:
        """Every pin has the same chance at every place, whatever its score."""
        recommender, _, impressions = make(store, candidates=EVERYTHING, random_share=1.0)

        answers = [
            recommender.recommend(replace(RELATED, limit=5, seed=seed, request_id=f"r{seed}"))
            for seed in range(1, 401)
        ]

        shown = Counter(name for answer in answers for name in names(answer))
        assert len(shown) == 59
        # 2,000 draws over 59 pins: 33.9 each, standard deviation 5.6; 6 of them either way.
        assert max(shown.values()) < 68
        assert min(shown.values()) > 0
        logged = impressions.kept[0][0]
        assert logged.is_randomised
        assert logged.slice_propensity == 1.0
        assert {pin.position_propensity for pin in logged.pins} == {1 / 59}
        assert not logged.next_page_token

    def test_what_is_excluded_stays_out_of_random_answers(self, store: Any) -> None:
        """Chance breaks no promise."""
        recommender, _, _ = make(store, candidates=CANDIDATES, profile=PROFILE, random_share=1.0)

        answer = recommender.recommend(ask(limit=100, excluded_pin_ids=(pin_id(50),)))

        assert answer.pins
        assert not {pin_id(25), pin_id(46), pin_id(50)} & set(names(answer))

    def test_ordered_answers_say_what_chance_left_them(self, store: Any) -> None:
        """The probability of not being random."""
        _, _, impressions = (made := make(store, random_share=0.25))
        made[0].recommend(ask(request_id="r2"))

        assert not impressions.kept[0][0].is_randomised
        assert impressions.kept[0][0].slice_propensity == 0.75
