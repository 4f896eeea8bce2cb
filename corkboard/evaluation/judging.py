"""Lists of pins against what people did afterwards; products and baselines by the same code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from corkboard.evaluation import metrics
from corkboard.evaluation.asking import Asked
from corkboard.evaluation.baselines import pair_matrix
from corkboard.evaluation.choices import SplitKind
from corkboard.evaluation.metrics import Interval, Rows
from corkboard.evaluation.split import Split, as_of_in_words, seen_pairs

CURVE_DEPTHS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400)
PARTS = ("known users, known pins", "cold pins", "cold users")
UNION = "all together"
WEIGHED = "all together, weighed"
WEIGHT_DEPTH = 100
"""A source counts by its recall so far down."""


@dataclass(frozen=True, slots=True)
class ListReport:
    """The figures of one source, of all together, or of one baseline; NaN = not measured.

    Attributes:
        name: Whose.
        origin: Paper or library of a baseline; "" for a source.
        recall: Mean over users by depth, with its 95 % interval.
        hit_rate: Share of users with at least one hit, by depth.
        gain: Mean NDCG by depth.
        coverage: Share of the catalogue's pins shown to anybody, by depth.
        novelty: Mean bits of surprise of the pins, by depth.
        parts: Recall by depth for each of `PARTS`, and under "users" how many people it has.
        alone: Share of what any source found that this one alone found.
        found: Share of the wanted pairs that it found at any depth.
        list_length: Mean number of pins in a list.
        latency_ms: `p50` and `p99` of an answer, milliseconds.
        curve: Recall by depth, for a plot.
        late_share: Share of the answers that came without it.
    """

    name: str
    origin: str
    recall: Mapping[int, Interval]
    hit_rate: Mapping[int, float]
    gain: Mapping[int, float]
    coverage: Mapping[int, float]
    novelty: Mapping[int, float]
    parts: Mapping[str, Mapping[int, float]]
    alone: float
    found: float
    list_length: float
    latency_ms: Mapping[str, float]
    curve: Mapping[int, float]
    late_share: float = 0.0


@dataclass(slots=True)
class Judge:
    """Knows what is wanted by whom, and compares.

    Pins are numbered as in `split.pairs`, so that a pin nobody ever acted on has no number: lists
    keep their length by numbers from `strangers` on.

    Attributes:
        split: What teaches and what is asked for.
        depths: Where lists are cut, ascending.
        user_count_max: How many users are tested, drawn by chance.
        seed: Of the draw.
        tested_users: Numbers of the users, int32[u], ascending.
        wanted: What each of them did afterwards, int32[w] each.
        histories: Users by pins of what teaches.
        seen: Users by pins of what must not come back.
        catalogue_size: Pins in the catalogue, for the coverage.
    """

    split: Split
    depths: Sequence[int]
    user_count_max: int
    seed: int
    tested_users: NDArray[np.int32] = field(init=False)
    wanted: list[Rows] = field(init=False)
    histories: sp.csr_matrix = field(init=False)
    seen: sp.csr_matrix = field(init=False)
    catalogue_size: int = field(init=False)
    _user_counts: NDArray[np.int64] = field(init=False)
    _strangers: dict[str, int] = field(init=False)
    _numbers: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        pairs, held, taught = self.split.pairs, self.split.is_held, self.split.is_taught
        users = np.unique(pairs.users[held])
        chosen = np.random.default_rng(self.seed).permutation(len(users))[: self.user_count_max]
        self.tested_users = np.sort(users[chosen]).astype(np.int32)
        order = np.flatnonzero(held)
        bounds = np.searchsorted(
            pairs.users[order], [self.tested_users, self.tested_users + 1]
        )  # pairs are sorted by user
        self.wanted = [pairs.pins[order[begin:end]] for begin, end in bounds.T]
        shape = (len(pairs.user_ids), len(pairs.pin_ids))
        self.histories = pair_matrix(pairs.users[taught], pairs.pins[taught], shape)
        self.seen = pair_matrix(*seen_pairs(self.split), shape)
        self._user_counts = np.asarray(self.histories.sum(axis=0)).ravel().astype(np.int64)
        self._numbers = {str(pin_id): at for at, pin_id in enumerate(pairs.pin_ids)}
        self._strangers = {}
        self.catalogue_size = len(pairs.pin_ids)

    def held_ids(self) -> dict[str, frozenset[str]]:
        """By id of each tested user, the ids of the pins that are asked for."""
        pairs = self.split.pairs
        return {
            str(pairs.user_ids[user]): frozenset(str(pairs.pin_ids[pin]) for pin in wanted)
            for user, wanted in zip(self.tested_users, self.wanted, strict=True)
        }

    def sources(self, names: Sequence[str], asked: Sequence[Asked]) -> tuple[ListReport, ...]:
        """Report each source, and what it alone found."""
        by_source = {name: self._lists_of(name, asked) for name in names}
        hits = [self._found(by_source[name], self.depths[-1]) for name in names]
        _, alone = metrics.found_alone(hits)
        reports = []
        for at, name in enumerate(names):
            told = [found for one in asked for found in one.lists if found.source == name]
            latencies = [found.duration_us / 1e3 for found in told if found.status == "ok"]
            reports.append(
                self.report(
                    name,
                    by_source[name],
                    alone=float(alone[at]),
                    latencies=latencies,
                    late_share=1 - len(latencies) / max(len(told), 1),
                )
            )
        return tuple(reports)

    def union(self, names: Sequence[str], asked: Sequence[Asked]) -> ListReport:
        """Report all sources in turns; `found` counts all their candidates, however deep."""
        by_source = [self._lists_of(name, asked) for name in names]
        merged = [
            metrics.interleave(lists, self.depths[-1] * max(len(names), 1))
            for lists in zip(*by_source, strict=True)
        ] or [np.empty(0, np.int32) for _ in self.tested_users]
        return self.report(UNION, merged, latencies=[one.seconds * 1e3 for one in asked])

    def weighed(self, names: Sequence[str], asked: Sequence[Asked]) -> ListReport:
        """Report all sources united by weighted reciprocal ranks.

        A source's weight is its recall among the other half of the people, so that nobody's own
        future counts for their own list.
        """
        by_source = [self._lists_of(name, asked) for name in names]
        weights = self._weights_by_half(by_source)
        depth = self.depths[-1] * max(len(names), 1)
        merged = [
            metrics.fuse(lists, weights[1 - at % 2], depth)
            for at, lists in enumerate(zip(*by_source, strict=True))
        ] or [np.empty(0, np.int32) for _ in self.tested_users]
        return self.report(WEIGHED, merged, latencies=[one.seconds * 1e3 for one in asked])

    def _weights_by_half(self, by_source: Sequence[Sequence[Rows]]) -> list[list[float]]:
        """Recall of each source among the people of even places, and of odd ones."""
        recalls = [
            [
                metrics.recall(metrics.hit_places(rows, wanted), len(wanted), WEIGHT_DEPTH)
                for rows, wanted in zip(lists, self.wanted, strict=True)
            ]
            for lists in by_source
        ]
        return [[float(np.sum(found[half::2])) for found in recalls] for half in (0, 1)]

    def report(
        self,
        name: str,
        lists: Sequence[Rows],
        *,
        origin: str = "",
        alone: float = float("nan"),
        latencies: Sequence[float] = (),
        late_share: float = 0.0,
        seconds: float = float("nan"),
    ) -> ListReport:
        """Judge one list a tested user, in their order.

        Args:
            name: Whose lists.
            lists: Distinct pin numbers, best first.
            origin: Paper or library of a baseline.
            alone: What only this source found.
            latencies: Milliseconds of each answer.
            late_share: Share of the answers that came without it.
            seconds: How long a baseline took for everybody, instead of latencies.
        """
        places = [
            metrics.hit_places(rows, wanted)
            for rows, wanted in zip(lists, self.wanted, strict=True)
        ]
        per_user = {
            depth: [
                metrics.recall(hits, len(wanted), depth)
                for hits, wanted in zip(places, self.wanted, strict=True)
            ]
            for depth in sorted({*self.depths, *CURVE_DEPTHS})
        }
        surprise = self._surprise()
        everything = max((len(rows) for rows in lists), default=0)
        found = self._found(lists, everything)
        if seconds == seconds:  # noqa: PLR0124  not NaN
            latencies = [seconds * 1e3 / max(len(lists), 1)]
        return ListReport(
            name=name,
            origin=origin,
            recall={depth: metrics.mean_interval(per_user[depth]) for depth in self.depths},
            hit_rate={
                depth: _mean([float(value > 0) for value in per_user[depth]])
                for depth in self.depths
            },
            gain={
                depth: _mean(
                    [
                        metrics.discounted_gain(hits, len(wanted), depth)
                        for hits, wanted in zip(places, self.wanted, strict=True)
                    ]
                )
                for depth in self.depths
            },
            coverage={
                depth: metrics.coverage(lists, self.catalogue_size, depth) for depth in self.depths
            },
            novelty={depth: metrics.novelty(lists, surprise, depth) for depth in self.depths},
            parts={part: self._part(part, lists) for part in PARTS},
            alone=alone,
            found=float(found.mean()) if len(found) else float("nan"),
            list_length=_mean([float(len(rows)) for rows in lists]),
            latency_ms={
                "p50": metrics.percentile(latencies, 0.5),
                "p99": metrics.percentile(latencies, 0.99),
            },
            curve={depth: _mean(per_user[depth]) for depth in CURVE_DEPTHS},
            late_share=late_share,
        )

    def facts(self) -> dict[str, str]:
        """Sizes and terms, in words."""
        split, pairs = self.split, self.split.pairs
        cold = int((self.histories[self.tested_users].sum(axis=1) == 0).sum())
        wanted = np.concatenate(self.wanted)
        cold_pairs = int((self._user_counts[wanted] == 0).sum())
        how = {
            SplitKind.TIME: f"by time, at {as_of_in_words(split.as_of)}",
            SplitKind.LAST: "each user's last pin left out",
        }
        return {
            "split": how[split.kind],
            "learned from": f"{int(split.is_taught.sum()):,} pairs of user and pin",
            "catalogue": f"{self.catalogue_size:,} pins, all of them ranked",
            "people asked": f"{len(self.tested_users):,} of "
            f"{len(np.unique(pairs.users[split.is_held])):,}; {cold:,} of them cold",
            "pairs asked for": f"{len(wanted):,}; {cold_pairs:,} of them with cold pins",
        }

    def warnings(self, names: Sequence[str], asked: Sequence[Asked]) -> list[str]:
        """What makes the figures less sure."""
        found = []
        if len(asked) < len(self.tested_users):
            found.append(
                f"{len(self.tested_users) - len(asked)} people got no answer: counted as misses"
            )
        for name in names:
            told = [each for one in asked for each in one.lists if each.source == name]
            bad = [each for each in told if each.status != "ok"]
            if bad:
                found.append(
                    f"{name} gave no list {len(bad)} times of {len(told)}: {bad[0].reason}"
                )
        if len(self.tested_users) < 100:
            found.append(f"only {len(self.tested_users)} people: the intervals are wide")
        return found

    def _lists_of(self, name: str, asked: Sequence[Asked]) -> list[Rows]:
        """One list a tested user; empty for those who got none."""
        ids = self.split.pairs.user_ids
        by_user = {
            one.user_id: self._rows(found.pin_ids)
            for one in asked
            for found in one.lists
            if found.source == name
        }
        nothing = np.empty(0, np.int32)
        return [by_user.get(str(ids[user]), nothing) for user in self.tested_users]

    def _rows(self, pin_ids: Sequence[str]) -> Rows:
        """Numbers of pins; those that nobody acted on get numbers of their own."""
        rows = [self._number(pin_id) for pin_id in pin_ids]
        return np.array(rows, np.int32)

    def _number(self, pin_id: str) -> int:
        known = self._numbers.get(pin_id)
        if known is not None:
            return known
        return self._strangers.setdefault(pin_id, len(self._numbers) + len(self._strangers))

    def _number_count(self) -> int:
        return len(self._numbers) + len(self._strangers)

    def _surprise(self) -> NDArray[np.float64]:
        counts = np.zeros(self._number_count(), np.int64)
        counts[: len(self._user_counts)] = self._user_counts
        teachers = int((np.asarray(self.histories.sum(axis=1)).ravel() > 0).sum())
        return metrics.surprises(counts, teachers)

    def _found(self, lists: Sequence[Rows], depth: int) -> NDArray[np.bool_]:
        """For every wanted pair, user after user, whether it is in the list."""
        parts = [
            np.isin(wanted, rows[:depth]) for rows, wanted in zip(lists, self.wanted, strict=True)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.bool_)

    def _part(self, part: str, lists: Sequence[Rows]) -> dict[int, float]:
        """Recall by depth over a part of the users and of what they want; NaN if it is empty."""
        is_cold_user = np.asarray(self.histories[self.tested_users].sum(axis=1)).ravel() == 0
        recalls: dict[int, list[float]] = {depth: [] for depth in self.depths}
        for is_cold, rows, wanted in zip(is_cold_user, lists, self.wanted, strict=True):
            is_cold_pin = self._user_counts[wanted] == 0
            if part == "cold users":
                chosen = wanted if is_cold else wanted[:0]
            elif part == "cold pins":
                chosen = wanted[is_cold_pin]
            else:
                chosen = wanted[:0] if is_cold else wanted[~is_cold_pin]
            places = metrics.hit_places(rows, chosen)
            for depth in self.depths:
                if len(chosen):
                    recalls[depth].append(metrics.recall(places, len(chosen), depth))
        return {depth: _mean(values) for depth, values in recalls.items()}


def _mean(values: Sequence[float]) -> float:
    """Mean of those that are numbers; NaN without any."""
    known = [value for value in values if value == value]  # noqa: PLR0124  NaN
    return float(np.mean(known)) if known else float("nan")
