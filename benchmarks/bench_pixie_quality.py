"""What the knobs of walks and co-occurrence do to quality: link prediction on boards.

From each tested board the newest pins (a fifth, at most 5; random ones where there are no times)
are held out, and predicted from at most 20 of its newest other pins, which stay on the board.
Recall@100 is the share of held-out pins among the first 100 candidates; the board's other pins are
excluded. With 400 boards its standard error is about .01 to .02: differences below are no
differences, but all settings see the same boards and held-out pins.

Without --sets a synthetic world with planted communities, topics and words is used. With --sets a
folder is read that has any of these, each as Parquet files:

    pinterest20/train           user_id, item_id                 a user is read as a board
    youshu/board_items          board_id, item_id
    ml_latest_small/ratings     user_id, item_id, rating, timestamp   3.5 and better
    ml_latest_small/movies      item_id, title, genres           genres are topics
    seq_beauty/sequences        user_id, pos, item_id            a user is read as a board
    seq_beauty/item_attributes  item_id, attributes              attributes are topics
    deskdrop/events             timestamp, event, user_id, item_id    weights of query pins
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from candidate_service import cooccurrence, pair_kernels, pin_agreement
from candidate_service.candidate import CandidateQuery, Segment, Stop
from candidate_service.cooccurrence import NeighbourLists
from candidate_service.graph import PinBoardGraph, build_graph
from candidate_service.graph_pruning import PinTopics, PruneSettings, prune_edges, topic_agreement
from candidate_service.pin_agreement import AgreementWeights
from candidate_service.query_weights import query_weights
from candidate_service.sources.board_cooccurrence import BoardCooccurrenceSource
from candidate_service.sources.pixie import PixieSource
from candidate_service.walk import PixieSettings, Walker, first_best

QUERY_PIN_COUNT = 20
HELD_OUT_MAX = 5
DEPTH = 100


@dataclass(frozen=True)
class Test:
    """A board to complete: what to start from, what else is on it, and what to predict."""

    queries: NDArray[np.int32]
    known: NDArray[np.int32]
    held_out: NDArray[np.int32]


@dataclass(frozen=True)
class Set:
    """Training edges, topics and titles of the pins, and the tests."""

    name: str
    pins: NDArray[np.int32]
    boards: NDArray[np.int32]
    topics: PinTopics
    titles: list[str] | None
    tests: list[Test]

    @property
    def pin_count(self) -> int:
        """Pins, those without a training edge included."""
        return len(self.topics.offsets) - 1


def split(
    name: str,
    edges: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
    topics: list[list[int]],
    titles: list[str] | None,
    test_count: int,
) -> Set:
    """Hold out the newest pins of some boards of at least five; edges are pins, boards, times."""
    rng = np.random.default_rng(5)
    pins, boards, times = edges
    order = np.lexsort((rng.random(len(pins)), times, boards))
    pins, boards = pins[order], boards[order]
    _, first = np.unique(boards << 32 | pins, return_index=True)
    pins, boards = pins[np.sort(first)], boards[np.sort(first)]
    begins = np.flatnonzero(np.append(True, boards[1:] != boards[:-1]))
    ends = np.append(begins[1:], len(boards))
    kept, tests = np.ones(len(pins), np.bool_), []
    for at in rng.permutation(len(begins)).tolist():
        begin, end = int(begins[at]), int(ends[at])
        if end - begin < 5 or len(tests) == test_count:
            continue
        cut = end - min(HELD_OUT_MAX, (end - begin) // 5)
        kept[cut:end] = False
        known = np.unique(pins[begin:cut]).astype(np.int32)
        newest = pins[max(begin, cut - QUERY_PIN_COUNT) : cut].astype(np.int32)
        tests.append(Test(newest, known, np.unique(pins[cut:end]).astype(np.int32)))
    offsets = np.cumsum([0, *map(len, topics)]).astype(np.int64)
    numbers = np.array([topic for own in topics for topic in own], np.int32)
    rows = PinTopics(offsets, numbers, int(numbers.max(initial=-1)) + 1)
    columns = (pins[kept].astype(np.int32), boards[kept].astype(np.int32))
    return Set(name, *columns, rows, titles, tests)


def synthetic(pin_count: int, board_count: int, test_count: int) -> Set:
    """Boards of one topic in eight; one pin in seven strays; words and popularity are skewed."""
    rng = np.random.default_rng(1)
    home = rng.integers(0, 8, pin_count)
    popularity = (np.arange(1, pin_count + 1) ** -0.6)[rng.permutation(pin_count)]
    pins, boards = [], []
    for board in range(board_count):
        chance = popularity * np.where(home == board % 8, 1.0, 0.02)
        count = int(rng.integers(8, 30))
        pins.append(rng.choice(pin_count, count, replace=False, p=chance / chance.sum()))
        boards.append(np.full(count, board))
    topics = [[int(t)] if rng.random() < 0.8 else [] for t in home]
    titles = [f"word{t} word{t + 8} thing{rng.integers(50)}" for t in home]
    edges = (np.concatenate(pins), np.concatenate(boards), rng.random(sum(map(len, pins))))
    return split("synthetic", edges, topics, titles, test_count)


def read_sets(folder: Path, test_count: int) -> Iterator[Set]:
    """Read those sets that are there."""
    if (folder / "pinterest20").exists():
        table = pq.read_table(folder / "pinterest20/train.parquet")
        yield pairs(table, "pinterest20", "user_id", test_count)
    if (folder / "youshu").exists():
        table = pq.read_table(folder / "youshu/board_items.parquet")
        yield pairs(table, "youshu", "board_id", test_count)
    if (folder / "ml_latest_small").exists():
        yield films(folder / "ml_latest_small", test_count)
    if (folder / "seq_beauty").exists():
        table = pq.read_table(folder / "seq_beauty/sequences.parquet")
        known = pq.read_table(folder / "seq_beauty/item_attributes.parquet").to_pylist()
        topics: list[list[int]] = [[] for _ in range(max(one["item_id"] for one in known) + 1)]
        for one in known:
            topics[one["item_id"]] = sorted(set(one["attributes"]))
        yield pairs(table, "seq_beauty", "user_id", test_count, time="pos", topics=topics)


def pairs(
    table: pa.Table,
    name: str,
    board: str,
    test_count: int,
    time: str | None = None,
    topics: list[list[int]] | None = None,
) -> Set:
    """Read pairs as edges."""
    pins, boards = (table.column(c).to_numpy().astype(np.int64) for c in ("item_id", board))
    times = np.zeros(len(pins)) if time is None else table.column(time).to_numpy().astype(float)
    bare: list[list[int]] = [[] for _ in range(int(pins.max()) + 1)]
    return split(name, (pins, boards, times), topics or bare, None, test_count)


def films(folder: Path, test_count: int) -> Set:
    """Films that users liked, with genres as topics."""
    ratings = pq.read_table(folder / "ratings.parquet")
    ratings = ratings.filter(ratings.column("rating").to_numpy() >= 3.5)
    movies = pq.read_table(folder / "movies.parquet").to_pylist()
    row_of = {movie["item_id"]: row for row, movie in enumerate(movies)}
    genres = sorted({genre for movie in movies for genre in movie["genres"]})
    pins = np.array([row_of[item] for item in ratings.column("item_id").to_pylist()])
    times = ratings.column("timestamp").cast(pa.int64()).to_numpy().astype(float)
    return split(
        "ml_latest_small",
        (pins, ratings.column("user_id").to_numpy().astype(np.int64), times),
        [[genres.index(genre) for genre in movie["genres"]] for movie in movies],
        [movie["title"] or "" for movie in movies],
        test_count,
    )


def graph_of(
    data: Set, rules: PruneSettings | None = None, *, topics: bool = True
) -> PinBoardGraph:
    """Prune and compress."""
    about = data.topics if topics else None
    kept = prune_edges(data.pins, data.boards, rules or PruneSettings(), seed=0, topics=about)
    first = np.full(data.pin_count, -1, np.int16)
    some = np.diff(data.topics.offsets) > 0
    first[some] = data.topics.numbers[data.topics.offsets[:-1][some]]
    return build_graph(
        data.pins[kept],
        data.boards[kept],
        pin_count=data.pin_count,
        board_count=int(data.boards.max()) + 1,
        pin_topics=first,
        topics=[f"t{n}" for n in range(data.topics.count)],
    )


def query_of(test: Test, seed: int, queries: NDArray[np.int32] | None = None) -> CandidateQuery:
    """Ask for the held-out pins of a board."""
    rows = test.queries if queries is None else queries
    return CandidateQuery(
        rows, np.ones(len(rows), np.float32), seed, Segment(), Stop.never(), test.known.copy()
    )


Found = Callable[[CandidateQuery], NDArray[np.int32]]


def by_pixie(graph: PinBoardGraph, settings: PixieSettings, count: int = DEPTH) -> Found:
    """Candidates of the source."""
    walker = Walker(graph, settings)
    source = PixieSource(lambda: walker)
    return lambda query: source.retrieve(query, count).rows


def recall(data: Set, found: Found, *, single: bool = False) -> float:
    """Mean share of the held-out pins that are found; single: from the newest pin alone."""
    shares = []
    for seed, test in enumerate(data.tests):
        rows = found(query_of(test, seed, test.queries[-1:] if single else None))
        shares.append(np.isin(test.held_out, rows).mean())
    return float(np.mean(shares))


@dataclass(frozen=True)
class Reader:
    """A reader of the test: newest actions before the cut, and what was read next."""

    rows: NDArray[np.int32]
    kinds: list[str]
    times_us: NDArray[np.int64]
    next_rows: NDArray[np.int32]
    next_us: int


ACTION_OF = {"view": "click", "like": "like", "bookmark": "save", "comment_created": "comment"}
ACTION_OF |= {"follow": "like"}


def weights_by_age(folder: Path, base: PixieSettings) -> None:
    """Query pins weighed by action and age: what readers read next on deskdrop."""
    events = pq.read_table(folder / "events.parquet").sort_by("timestamp")
    times = events.column("timestamp").cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    users, items = (events.column(c).to_numpy().astype(np.int64) for c in ("user_id", "item_id"))
    kinds = [ACTION_OF[kind] for kind in events.column("event").to_pylist()]
    users = np.unique(users, return_inverse=True)[1]
    cut = int(np.quantile(times, 0.8))
    before = times < cut
    edges = np.unique(users[before] << 32 | items[before])
    graph = build_graph(
        (edges & 0xFFFF_FFFF).astype(np.int32),
        (edges >> 32).astype(np.int32),
        pin_count=int(items.max()) + 1,
        board_count=int(users.max()) + 1,
    )
    readers = list(readers_of(users, items, times, kinds, cut))
    found = by_pixie(graph, base)
    rows = []
    for half_life in (0.25, 1.0, 7.0, 30.0, 365.0):
        for name, knows_kinds in (("action and age", True), ("age alone", False)):
            shares = []
            for seed, one in enumerate(readers):
                weights = query_weights(
                    np.ones(len(one.rows)),
                    one.kinds if knows_kinds else [""] * len(one.rows),
                    one.times_us,
                    now_us=one.next_us,
                    half_life_days=half_life,
                ).astype(np.float32)
                kept = weights > 1e-30
                query = CandidateQuery(
                    one.rows[kept], weights[kept], seed, Segment(), Stop.never(), np.sort(one.rows)
                )
                shares.append(np.isin(one.next_rows, found(query)).mean())
            rows.append([f"{half_life:g} days", name, float(np.mean(shares))])
    columns = ["half-life", "weights by", f"recall@{DEPTH} of the next reads"]
    table(f"Query pins by action and age on deskdrop, {len(readers)} readers.", columns, rows)


def readers_of(
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    times: NDArray[np.int64],
    kinds: list[str],
    cut: int,
) -> Iterator[Reader]:
    """Readers with at least five articles before the cut and a new one after it."""
    order = np.lexsort((times, users))
    for part in np.split(order, np.flatnonzero(np.diff(users[order])) + 1):
        past, future = part[times[part] < cut][::-1], part[times[part] >= cut]
        _, newest = np.unique(items[past], return_index=True)
        past = past[np.sort(newest)][:QUERY_PIN_COUNT]
        fresh = future[~np.isin(items[future], items[part[times[part] < cut]])]
        fresh = fresh[np.isin(items[fresh], items[times < cut])][:HELD_OUT_MAX]
        if len(past) >= 5 and len(fresh):
            yield Reader(
                items[past].astype(np.int32),
                [kinds[at] for at in past.tolist()],
                times[past],
                np.unique(items[fresh]).astype(np.int32),
                int(times[fresh[0]]),
            )


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print one table."""
    print(f"\n{title}\n")
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    for row in rows:
        print("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row) + " |")


def knobs_of_the_walk(sets: Sequence[Set], base: PixieSettings) -> None:
    """Popularity exponent, restart and booster, one changed at a time."""
    variants = {"default": base}
    variants |= {
        f"popularity exponent {x:g}": replace(base, popularity_exponent=x)
        for x in (0.0, 0.2, 0.6, 0.8)
    }
    variants |= {f"restart {x:g}": replace(base, restart=x) for x in (0.3, 0.7, 0.9, 1.0)}
    variants["budgets by weight alone"] = replace(base, budgets_by_degree=False)
    variants["restart 0.9, popularity exponent 0.5"] = replace(
        base, restart=0.9, popularity_exponent=0.5
    )
    variants["booster on"] = replace(base, boost=True)
    graphs = [graph_of(data) for data in sets]
    rows = [
        [name, *(recall(data, by_pixie(g, s)) for data, g in zip(sets, graphs, strict=True))]
        for name, s in variants.items()
    ]
    names = [data.name for data in sets]
    table(f"Recall@{DEPTH} of pixie, one knob changed at a time.", ["walk", *names], rows)


def steps_and_early_stop(data: Set, base: PixieSettings, counts: Sequence[int]) -> None:
    """Stability against steps; early stop against the longest walk."""
    graph = graph_of(data)
    full = replace(base, early_stop_visit_count=0)
    rows = []
    for count in counts:
        walker = Walker(graph, replace(full, step_count=count))
        rows.append([f"{count:,} steps", *stability(data, walker, walker)])
    longest = Walker(graph, replace(full, step_count=counts[-1]))
    for pins, visits in ((500, 4), (1000, 4), (2000, 4), (2000, 6)):
        stopping = replace(
            base, step_count=counts[-1], early_stop_pin_count=pins, early_stop_visit_count=visits
        )
        figures = stability(data, Walker(graph, stopping), longest)
        rows.append([f"{counts[-1]:,}, n_p {pins}, n_v {visits}", *figures])
    table(
        f"Stability on {data.name}: first {DEPTH} of two seeds (with early stop: against the full "
        "walk of another seed), one query pin.",
        ["walk", "share of the steps", "overlap", f"recall@{DEPTH}, all query pins"],
        rows,
    )


def stability(data: Set, walker: Walker, other: Walker) -> tuple[float, float, float]:
    """Steps of the first walker over the other's, overlap of their best, recall of the first."""
    shares, overlaps = [], []
    for seed, test in enumerate(data.tests[:100]):
        queries = test.queries[-1:]
        one = walker.visits(query_of(test, seed, queries))
        two = other.visits(query_of(test, seed + 10_000, queries))
        heads = [
            set(v.rows[first_best(w.discounted(v), DEPTH)].tolist())
            for v, w in ((one, walker), (two, other))
        ]
        if heads[1]:
            shares.append(one.step_count / two.step_count)
            overlaps.append(len(heads[0] & heads[1]) / len(heads[1]))
    source = PixieSource(lambda: walker)
    found = recall(data, lambda query: source.retrieve(query, DEPTH).rows)
    return float(np.mean(shares)), float(np.mean(overlaps)), found


def delta_sweep(data: Set, base: PixieSettings) -> None:
    """Edges kept and recall by exponent and by entropy."""
    rows = []
    ways = {"closest topics": True, "smallest boards": False}
    if not data.topics.count:
        ways = {"smallest boards": False}
    for way, knows in ways.items():
        for exponent in (1.0, 0.95, 0.91, 0.86, 0.8, 0.7):
            rules = PruneSettings(
                degree_exponent=exponent, bare_degree_exponent=exponent, degree_kept_min=1
            )
            graph = graph_of(data, rules, topics=knows)
            share = graph.edge_count / len(data.pins)
            rows.append([f"{way}, d^{exponent:g}", share, recall(data, by_pixie(graph, base))])
    if data.topics.count:
        _, entropies = topic_agreement(data.pins, data.boards, data.topics)
        for percent in (90, 75, 50):
            bound = float(np.percentile(entropies[entropies > 0], percent))
            graph = graph_of(data, PruneSettings(board_entropy_max=bound))
            share = graph.edge_count / len(data.pins)
            name = f"boards up to {bound:.2f} bits ({percent} %)"
            rows.append([name, share, recall(data, by_pixie(graph, base))])
    table(f"Pruning on {data.name}.", ["kept", "share of the edges", f"recall@{DEPTH}"], rows)


def topic_bias(data: Set, base: PixieSettings) -> None:
    """Recall and share of candidates on the query pin's first topic, from one pin."""
    graph = graph_of(data)
    assert graph.pin_labels is not None
    rows = []
    for bias in (0.0, 0.25, 0.5, 0.9):
        found = by_pixie(graph, replace(base, topic_bias=bias))
        on_topic = []
        for seed, test in enumerate(data.tests):
            rows_found = found(query_of(test, seed, test.queries[-1:]))
            label = graph.pin_labels[test.queries[-1]]
            on_topic.append(float((graph.pin_labels[rows_found] == label).mean()))
        one = recall(data, found, single=True)
        rows.append([f"{bias:g}", float(np.nanmean(on_topic)), one, recall(data, found)])
    columns = ["topic bias", "on the topic", f"recall@{DEPTH}, one query pin", "all query pins"]
    table(f"Topic bias on {data.name}.", columns, rows)


def agreement(data: Set, base: PixieSettings) -> None:
    """Ablation of agreement in co-occurrence, and content neighbours alone."""
    graph, class_free = graph_of(data), np.zeros(data.pin_count, np.bool_)
    exact = cooccurrence.exact_counter(graph, 1000)(range(graph.pin_count))
    pins = catalogue_of(data)
    words, topics = pin_agreement.words_of(pins), pin_agreement.topics_of(pins)
    rows = [
        [f"pixie, one query pin, recall@{DEPTH}", recall(data, by_pixie(graph, base), single=True)]
    ]
    content = content_neighbours(words, topics)
    rows.append(
        ["content neighbours (words and topics), one query pin", recall(data, content, single=True)]
    )
    rows.append(["pixie, all query pins", recall(data, by_pixie(graph, base))])
    for text, topic in ((0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5), (1, 1), (2, 2)):
        lists = pin_agreement.weigh(
            exact,
            AgreementWeights(text, topic),
            words=words,
            topics=topics,
            is_gone=class_free,
            neighbour_count=500,
        )
        name = f"co-occurrence, w_text {text:g}, w_topic {topic:g}, all query pins"
        rows.append([name, recall(data, by_lists(lists))])
    table(f"Agreement in words and topics on {data.name}.", ["candidates", f"recall@{DEPTH}"], rows)


class Catalogue:
    """As much of a catalogue as agreement reads."""

    def __init__(self, pins: pa.Table) -> None:
        self.pins = pins

    def __len__(self) -> int:
        return self.pins.num_rows


def catalogue_of(data: Set) -> Catalogue:
    """Titles and topics as columns."""
    count, offsets = data.pin_count, data.topics.offsets
    names = pa.array([f"t{n}" for n in data.topics.numbers.tolist()], pa.large_string())
    nothing = pa.nulls(count, pa.large_string())
    return Catalogue(
        pa.table(
            {
                "language": nothing,
                "title": pa.array(data.titles, pa.large_string()) if data.titles else nothing,
                "description": nothing,
                "topics": pa.LargeListArray.from_arrays(offsets, names),
            }
        )
    )


def by_lists(lists: NeighbourLists) -> Found:
    """Candidates of the co-occurrence source."""
    source = BoardCooccurrenceSource(lambda: lists)
    return lambda query: source.retrieve(query, DEPTH).rows


def content_neighbours(words: pin_agreement.Traits, topics: pin_agreement.Traits) -> Found:
    """Pins whose words and topics are nearest: what is there without anybody's saves."""

    def find(query: CandidateQuery) -> NDArray[np.int32]:
        count = len(words.offsets) - 1
        scores = np.random.default_rng(query.seed).random(count) * 1e-6  # among equals any
        for traits in (words, topics):
            mine = np.zeros(traits.count)
            for row in query.query_rows.tolist():
                part = slice(traits.offsets[row], traits.offsets[row + 1])
                mine[traits.numbers[part]] += traits.weights[part]
            owners = np.repeat(np.arange(count), np.diff(traits.offsets))
            scores += np.bincount(owners, traits.weights * mine[traits.numbers], minlength=count)
        scores[query.unwanted_rows] = -1
        return np.argsort(-scores)[:DEPTH].astype(np.int32)

    return find


def sampling(data: Set, pair_counts: Sequence[int]) -> None:
    """How far sampled lists agree with exact ones, how even they are, and what that costs."""
    graph = graph_of(data)
    exact = cooccurrence.exact_counter(graph, 500)(range(graph.pin_count))
    rows = [["all pairs", len(exact.rows) / len(exact), "", 1.0, recall(data, by_lists(exact))]]
    for count in pair_counts:
        lists, spread = sampled(graph, count)
        overlap = cooccurrence.overlap_with_exact(lists, graph, depth=DEPTH, pin_count=200, seed=1)
        mean = len(lists.rows) / len(lists)
        rows.append([f"{count} pairs a pin", mean, spread, overlap, recall(data, by_lists(lists))])
    table(
        f"Sampled co-occurrence on {data.name}: overlap of the best {DEPTH} with the exact list.",
        ["pairs", "neighbours kept, mean", "pairs a pin, p10 / p90", "overlap", f"recall@{DEPTH}"],
        rows,
    )


def sampled(graph: PinBoardGraph, pair_count: int) -> tuple[NeighbourLists, str]:
    """Sample and add up as the job does, without its engine; and how many pairs pins were given."""
    offsets, pins = graph.board_edges
    degrees = cooccurrence.pin_degrees(graph)
    lefts, rights, weights = pair_kernels.sample_pairs(
        np.arange(graph.board_count, dtype=np.int32),
        offsets,
        pins,
        degrees[pins],
        pair_count,
        3,
    )
    given = np.bincount(lefts, minlength=graph.pin_count)[degrees > 0]
    pairs, at = np.unique(lefts.astype(np.int64) << 32 | rights, return_inverse=True)
    totals = np.bincount(at, weights)
    left, right = pairs >> 32, pairs & 0xFFFF_FFFF
    scores = totals / np.sqrt(degrees[left].astype(float) * degrees[right])
    order = np.lexsort((right, -scores, left))
    begins = np.searchsorted(left, np.arange(graph.pin_count + 1))
    place = np.arange(len(order)) - begins[left[order]]
    order = order[place < 500]
    counts = np.bincount(left[order], minlength=graph.pin_count)
    lists = NeighbourLists(
        np.concatenate(([0], np.cumsum(counts))),
        right[order].astype(np.int32),
        scores[order].astype(np.float32),
    )
    return lists, f"{np.percentile(given, 10):.0f} / {np.percentile(given, 90):.0f}"


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny world, to see that it works")
    parser.add_argument("--sets", type=Path, help="folder of data sets; without it: synthetic")
    parser.add_argument("--tests", type=int, default=400, help="boards that are completed")
    options = parser.parse_args()
    base, counts = PixieSettings(), (10_000, 30_000, 100_000, 300_000, 1_000_000)
    if options.quick:
        base, counts = replace(base, step_count=5000), (1000, 5000)
        sets = [synthetic(300, 80, 10)]
    elif options.sets:
        sets = list(read_sets(options.sets, options.tests))
    else:
        sets = [synthetic(5000, 3000, options.tests)]
    print("## Quality of walks and co-occurrence\n")
    for data in sets:
        print(
            f"* {data.name}: {data.pin_count:,} pins, {len(data.pins):,} saves to learn from, "
            f"{len(data.tests)} boards to complete, {data.topics.count} topics"
        )
    knobs_of_the_walk(sets, base)
    steps_and_early_stop(sets[0], base, counts)
    for data in sets:
        delta_sweep(data, base)
    for data in sets:
        if data.topics.count:
            topic_bias(data, base)
            agreement(data, base)
    if options.sets and (options.sets / "deskdrop").exists():
        weights_by_age(options.sets / "deskdrop", base)
    sampling(sets[0], (50, 200) if options.quick else (100, 500, 2000, 10_000))


if __name__ == "__main__":
    main()
