"""Text search over pictures: quality by judgements that the index never saw, and speed.

    python benchmarks/bench_text.py --data FOLDER     # items.parquet and search_judgements.parquet
    python benchmarks/bench_text.py --data FOLDER --vectors FOLDER2    # an encoder of one's own
    python benchmarks/bench_text.py --quick           # made-up words, no figures of quality

FOLDER holds items (item_id, title, tags, group, subgroup) and judgements (query, item_id): what
people of another keyboard call the same picture. Queries are halved by a hash: settings are chosen
on one half (`chosen on`) and reported on the other (`reported on`). NDCG@10 with equal gains.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from candidate_service import imported
from candidate_service.catalogue import open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.content_vectors import LiveVectorsOf
from candidate_service.jobs import build_catalogue, build_text_index
from candidate_service.live.segment import LiveChanges, LivePin
from candidate_service.live_text import LiveText
from candidate_service.pin_search import BOOSTS, PinSearch, SearchSettings, Space
from candidate_service.text_analysis import stems
from candidate_service.text_index import BOARDS, DESCRIPTION, GRAMS, WORDS, PinText, open_text_index
from candidate_service.vector_index import VectorIndex
from service_runtime.generations import GenerationStore
from service_runtime.job import JobContext
from service_runtime.vector_table import unit_rows

DEPTH = 10
GRAM_BOOSTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
HOLDER_SHARES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
"""Holders that a search's terms may have together, of all pins; by default a million pins give the
words of a query pin a half and typed words as many as there are pins."""
Search = Callable[[str], Sequence[int]]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of items and judgements")
    parser.add_argument("--vectors", type=Path, help="folder of vectors of items and queries")
    parser.add_argument("--quick", action="store_true", help="tiny and without judging")
    options = parser.parse_args()
    print("## Text search")
    if options.data and not options.quick:
        judged(options.data, options.vectors)
    pin_counts = (2_000,) if options.quick else (100_000,)
    for pin_count in pin_counts:
        timed(pin_count, repeats=20 if options.quick else 400)


def judged(folder: Path, vectors: Path | None) -> None:
    """Choose on one half of the queries, report on the other."""
    items = pq.read_table(
        folder / "items.parquet", columns=["item_id", "title", "tags", "group", "subgroup"]
    ).to_pylist()
    judgements = defaultdict(set)
    for row in pq.read_table(folder / "search_judgements.parquet").to_pylist():
        judgements[row["query"]].add(row["item_id"])
    halves = halved(sorted(judgements))
    pins = [
        {
            "pin_id": f"{item['item_id']:06}",
            "title": item["title"],
            "topics": [*item["tags"], *f"{item['group']} {item['subgroup']}".split()],
            "language": "en",
        }
        for item in items
    ]
    with tempfile.TemporaryDirectory() as data_root:
        space = indexed(Path(data_root), pins)
        print(f"\n{len(items):,} pins, {len(halves[0])} + {len(halves[1])} queries\n")
        print("| words and grams | chosen on | reported on | all |")
        print("| --- | --- | --- | --- |")
        scores = {boost: quality(words(space, boost), judgements, halves) for boost in GRAM_BOOSTS}
        only = quality(words(space, 1.0, word_boost=0.0), judgements, halves)
        chosen = max(scores, key=lambda boost: scores[boost][0])
        for boost, found in scores.items():
            name = f"grams count {boost:g}" + (" **chosen**" if boost == chosen else "")
            print(f"| {name} | {shown(found)} |")
        print(f"| grams alone | {shown(only)} |")
        for share in HOLDER_SHARES:
            cut = words(space, SearchSettings().boosts[GRAMS], holder_share=share)
            name = f"rarest terms, together held by {share:.0%} of the pins"
            print(f"| {name} | {shown(quality(cut, judgements, halves))} |")
        searches = fused(space, latent(pins), chosen)
        if vectors:
            searches |= fused(space, brought(vectors), chosen)
        for name, search in {**searches, **baselines(items)}.items():
            print(f"| {name} | {shown(quality(search, judgements, halves))} |")


def halved(queries: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split queries by a hash of their letters."""
    is_first = [hashlib.sha256(query.encode()).digest()[0] % 2 == 0 for query in queries]
    return (
        [query for query, first in zip(queries, is_first, strict=True) if first],
        [query for query, first in zip(queries, is_first, strict=True) if not first],
    )


def indexed(data_root: Path, pins: Sequence[Mapping[str, object]]) -> Space:
    """Build catalogue and index as in production, and open them."""
    table = pa.Table.from_pylist(
        [{"import_seq": at, **pin} for at, pin in enumerate(pins)], imported.PINS
    )
    (data_root / "catalogue" / "pins").mkdir(parents=True)
    pq.write_table(table, data_root / "catalogue" / "pins" / "a.parquet")
    for job in (build_catalogue, build_text_index):
        context = JobContext(config=CandidateConfig(data_root=data_root), as_of_us=2**60)
        job.run(context)
        context.close()
    store = GenerationStore(data_root / "generations")
    generation = store.current("catalogue")
    assert generation is not None
    known = open_catalogue(generation)
    assert known.ids.ids([0, len(pins) - 1]) == [pins[0]["pin_id"], pins[-1]["pin_id"]]
    text = store.current("text_index")
    assert text is not None
    return Space(open_text_index(text), LiveText(), None, LiveVectorsOf(lambda _: None))


def words(
    space: Space, gram_boost: float, *, word_boost: float = 1.0, holder_share: float = 1e6
) -> Search:
    """Return a search by words and grams; the terms' holders at most a share of the pins."""
    boosts = {WORDS: word_boost, DESCRIPTION: 0.5, BOARDS: 0.3, GRAMS: gram_boost}
    boosts = {field: boost for field, boost in boosts.items() if boost > 0}
    assert space.index is not None
    holder_count = int(holder_share * space.index.document_count)
    search = PinSearch(SearchSettings(boosts=boosts, query_holder_count=holder_count))

    def find(query: str) -> Sequence[int]:
        terms = search.terms_of_query(query, "en", space.index)
        rows, _ = search.find(terms, None, DEPTH, space)
        return [int(row) for row in rows]

    return find


@dataclass(frozen=True)
class Encoder:
    """Vectors of the pins' texts, unit float32[n, d], and what makes one of a query's."""

    name: str
    vectors: NDArray[np.float32]
    of_query: Callable[[str], NDArray[np.float32]]


def latent(pins: Sequence[Mapping[str, object]]) -> Encoder:
    """Return latent semantic analysis of the stems, 200 directions (Deerwester et al. 1990)."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer=lambda text: stems(text, "en"), sublinear_tf=True)
    texts = [f"{pin['title']} {' '.join(pin['topics'])}" for pin in pins]  # type: ignore[arg-type]
    matrix = vectorizer.fit_transform(texts)
    directions = TruncatedSVD(200, random_state=0).fit(matrix)

    def of_query(query: str) -> NDArray[np.float32]:
        return unit_rows(directions.transform(vectorizer.transform([query])))[0]

    return Encoder("LSA of the same words", unit_rows(directions.transform(matrix)), of_query)


def brought(folder: Path) -> Encoder:
    """Return vectors of an encoder of one's own: of items by item_id, of queries by query."""
    items = pq.read_table(folder / "items.parquet").sort_by("item_id").to_pydict()
    queries = pq.read_table(folder / "queries.parquet").to_pydict()
    known = dict(zip(queries["query"], queries["vector"], strict=True))

    def of_query(query: str) -> NDArray[np.float32]:
        return unit_rows(np.array([known[query]]))[0]

    return Encoder(folder.name, unit_rows(np.array(items["vector"])), of_query)


def fused(space: Space, encoder: Encoder, gram_boost: float) -> dict[str, Search]:
    """Return searches by words and the vectors of an encoder."""
    space = replace(space, vectors=VectorIndex(encoder.vectors, path=None))

    def by(weight: float | None) -> Search:
        boosts = {**BOOSTS, GRAMS: gram_boost}
        search = PinSearch(SearchSettings(boosts=boosts, vector_weight=weight or 1.0))

        def find(query: str) -> Sequence[int]:
            vector = encoder.of_query(query)
            terms = search.terms_of_query(query, "en", space.index) if weight else []
            if not vector.any() and not terms:
                return []
            rows, _ = search.find(terms, vector if vector.any() else None, DEPTH, space)
            return [int(row) for row in rows]

        return find

    found = {f"vectors alone ({encoder.name})": by(None)}
    for weight in (0.5, 1.0, 2.0):
        found[f"words and vectors ({encoder.name}) fused, vectors count {weight:g}"] = by(weight)
    return found


def baselines(items: Sequence[Mapping[str, object]]) -> dict[str, Search]:
    """Return the searches of scikit-learn that the design was measured against."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [f"{item['title']} {' '.join(item['tags'])}" for item in items]  # type: ignore[arg-type]

    def by(**settings: object) -> Search:
        vectorizer = TfidfVectorizer(**settings)
        matrix = vectorizer.fit_transform(texts)

        def find(query: str) -> Sequence[int]:
            scores = (matrix @ vectorizer.transform([query]).T).toarray().ravel()
            best = np.argsort(-scores, kind="stable")[:DEPTH]
            return [int(row) for row in best if scores[row] > 0]

        return find

    return {
        "tf-idf of words (scikit-learn)": by(analyzer="word"),
        "tf-idf of 3- to 5-grams (scikit-learn)": by(analyzer="char_wb", ngram_range=(3, 5)),
    }


def quality(
    search: Search, judgements: Mapping[str, set[int]], halves: Sequence[Sequence[str]]
) -> tuple[float, float, float]:
    """Return the mean NDCG@10 of the first half, the second, and all."""
    each = [[ndcg(search(query), judgements[query]) for query in half] for half in halves]
    return (
        float(np.mean(each[0])),
        float(np.mean(each[1])),
        float(np.mean([*each[0], *each[1]])),
    )


def ndcg(rows: Sequence[int], right: set[int]) -> float:
    """Return the discounted gain of a list over that of the best list."""
    gain = sum(1 / math.log2(at + 2) for at, row in enumerate(rows[:DEPTH]) if row in right)
    return gain / sum(1 / math.log2(at + 2) for at in range(min(DEPTH, len(right))))


def shown(found: tuple[float, float, float]) -> str:
    """Return three figures as cells."""
    return " | ".join(f"{figure:.3f}" for figure in found)


def timed(pin_count: int, *, repeats: int) -> None:
    """Time searches over made-up words whose frequencies follow Zipf's law."""
    rng = np.random.default_rng(0)
    lexicon = [made_up(rng) for _ in range(30_000)]
    chosen = np.minimum(rng.zipf(1.2, (pin_count, 12)) - 1, len(lexicon) - 1)
    pins = [
        {
            "pin_id": f"{at:07}",
            "title": " ".join(lexicon[word] for word in row[:6]),
            "topics": [lexicon[word] for word in row[6:8]],
            "description": " ".join(lexicon[word] for word in row[8:]),
        }
        for at, row in enumerate(chosen)
    ]
    queries = [" ".join(lexicon[word] for word in chosen[at]) for at in range(repeats)]
    with tempfile.TemporaryDirectory() as data_root:
        started = time.process_time()
        space = indexed(Path(data_root), pins)
        built_s = time.process_time() - started
        size = sum(
            path.stat().st_size
            for path in (Path(data_root) / "generations" / "text_index").rglob("*")
            if path.is_file()
        )
        print(f"\n{pin_count:,} pins of 12 words: built in {built_s:.1f} CPU s, ", end="")
        print(f"{size / pin_count:.0f} bytes a pin\n")
        print("| search | p50 ms | p99 ms | x |")
        print("| --- | --- | --- | --- |")
        baseline = 0.0
        for name, milliseconds in durations(space, queries, pin_count).items():
            p50, p99 = np.percentile(milliseconds, (50, 99))
            baseline = baseline or float(p50)
            print(f"| {name} | {p50:.2f} | {p99:.2f} | {p50 / baseline:.2f} |")
        live_timed(space, queries, pin_count // 10)


def live_timed(space: Space, queries: Sequence[str], live_count: int) -> None:
    """Time searches beside live pins, all of which hold one common word."""
    started = time.process_time()
    for begin in range(0, live_count, 100):
        pins = [
            LivePin(10**8 + at, f"n{at}", True, title=f"common {queries[at % len(queries)][:40]}")
            for at in range(begin, min(begin + 100, live_count))
        ]
        space.words.apply(LiveChanges(pins=pins))
    taken_us = (time.process_time() - started) / live_count * 1e6
    search = PinSearch(SearchSettings())
    kinds = {"a rare word": queries, "a word of all live pins": ["common"] * 10}
    print(f"\n{live_count:,} live pins, {taken_us:.0f} us each to take in\n")
    print("| search beside live pins | p50 ms |")
    print("| --- | --- |")
    for name, asked in kinds.items():
        each = []
        for query in asked:
            started = time.thread_time()
            terms = search.terms_of_query(query.split()[0], "sw", space.index)
            search.find(terms, None, DEPTH, space)
            each.append((time.thread_time() - started) * 1e3)
        print(f"| {name} | {np.median(each):.2f} |")


def durations(
    space: Space, queries: Sequence[str], pin_count: int
) -> dict[str, NDArray[np.float64]]:
    """Return the CPU milliseconds of each kind of search."""
    plain = words(space, 0.0)
    with_grams = words(space, SearchSettings().boosts[GRAMS])
    rng = np.random.default_rng(1)
    half, few = (rng.random(pin_count) < share for share in (0.5, 0.01))
    kinds: dict[str, Search] = {
        "3 words, first 10": plain,
        "with grams": with_grams,
        "with grams, half of the pins allowed": words(
            replace(space, allowed=half), SearchSettings().boosts[GRAMS]
        ),
        "with grams, 1 % allowed": words(
            replace(space, allowed=few), SearchSettings().boosts[GRAMS]
        ),
    }
    kinds = {name: first_words(search) for name, search in kinds.items()}
    whole = pin_search_of(space, 1e6)
    kinds["the 12 words of a pin, first 70"] = whole
    for share in (0.5, 0.1):
        kinds[f"its rarest, together held by {share:.0%} of the pins"] = pin_search_of(space, share)
    taken = {}
    for name, search in kinds.items():
        each, kept = [], []
        for query in queries:
            started = time.thread_time()
            found = search(query)
            each.append((time.thread_time() - started) * 1e3)
            if name.startswith("its rarest"):
                expected = whole(query)
                kept.append(len(set(found) & set(expected)) / max(1, len(expected)))
        agreed = f": {np.mean(kept):.3f} of the same found" if kept else ""
        taken[name + agreed] = np.array(each)
    return taken


def first_words(search: Search, count: int = 3) -> Search:
    """Return a search by the first words of what is asked."""
    return lambda query: search(" ".join(query.split()[:count]))


def pin_search_of(space: Space, holder_share: float) -> Search:
    """Return a search by many words, as a query pin makes it."""
    assert space.index is not None
    holder_count = int(holder_share * space.index.document_count)
    search = PinSearch(SearchSettings(pin_holder_count=holder_count))

    def find(query: str) -> Sequence[int]:
        text = PinText(title=query)
        terms, _ = search.terms_of_pin(text, space.index)
        return [int(row) for row in search.find_by_words(terms, 70, space)[0]]

    return find


def made_up(rng: np.random.Generator) -> str:
    """Return a word of two to four syllables."""
    syllables = rng.integers(0, 5 * 15, rng.integers(2, 5))
    return "".join("bcdfghklmnprstv"[at // 5] + "aeiou"[at % 5] for at in syllables)


if __name__ == "__main__":
    main()
