"""Small worlds for tests of ranking: artifacts as the jobs of candidate_service publish them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranking_service.answer import Answer
from ranking_service.asking import CandidateAsk
from ranking_service.catalogue import STATISTIC_COUNTS
from ranking_service.config import RankingConfig
from ranking_service.feature_table import FEATURE_NAMES
from ranking_service.hand_tuned import make_hand_tuned
from ranking_service.memboost.memory import NO_MEMORY, Memboost
from ranking_service.model_choice import ModelChoice
from ranking_service.page_book import PageBook
from ranking_service.planner import Planner
from ranking_service.pool import Candidates, SourceList
from ranking_service.profile import NOBODY, Profile, RecentActions
from ranking_service.ranker import Rankers
from ranking_service.recommend import Recommender
from ranking_service.rotation import ShownLately
from ranking_service.shadow import Shadow
from ranking_service.skew import SkewCheck
from ranking_service.world import Artifacts, World
from service_runtime.generation_store import GenerationStore
from service_runtime.id_table import IdTable
from service_runtime.telemetry import Metrics
from service_runtime.vector_table import VectorTable

NOW = 1_767_225_600.0
DAY = 86_400.0
TEXT = pa.large_string()


def pin_id(row: int) -> str:
    """Id of the pin at a row of every test world."""
    return f"pin-{row}"


def unit_vectors(count: int, dimension: int, seed: int = 0) -> NDArray[np.float32]:
    """Random directions, float32[count, dimension]."""
    vectors = np.random.default_rng(seed).standard_normal((count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write_arrow(path: Path, table: pa.Table) -> None:
    """One Arrow IPC file."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def publish_catalogue(
    store: GenerationStore,
    count: int = 50,
    *,
    id_space: str = "space",
    as_of_us: int = round((NOW - DAY) * 1e6),
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> str:
    """Publish pins `pin-0` … with all attributes unknown unless given; returns the generation."""
    kinds = {
        "language": TEXT,
        "country": TEXT,
        "topics": pa.large_list(TEXT),
        "creation_time_us": pa.int64(),
        "owner_id": TEXT,
    }
    given = columns or {}
    arrays = {name: pa.array(given.get(name, [None] * count), kind) for name, kind in kinds.items()}
    with store.draft("catalogue", format_version=1) as draft:
        IdTable.build([pin_id(row) for row in range(count)], draft.path("pin_ids"))
        write_arrow(draft.path("pins.arrow"), pa.table(arrays))
        details = {"id_space": id_space, "pin_count": count}
        return draft.publish(as_of_us=as_of_us, details=details).id


def publish_vectors(
    store: GenerationStore,
    vectors: NDArray[np.float32],
    *,
    id_space: str = "space",
    as_of_us: int = round((NOW - DAY) * 1e6),
) -> str:
    """Publish vectors; returns the generation."""
    with store.draft("pin_vectors", format_version=1) as draft:
        VectorTable.write(draft.path("vectors.npy"), vectors)
        return draft.publish(as_of_us=as_of_us, details={"id_space": id_space}).id


def publish_statistics(
    store: GenerationStore,
    count: int = 50,
    *,
    id_space: str = "space",
    as_of_us: int = round((NOW - DAY) * 1e6),
    columns: Mapping[str, Sequence[float]] | None = None,
) -> str:
    """Publish statistics, 0 unless given; returns the generation."""
    given = columns or {}
    arrays = {
        name: pa.array(np.asarray(given.get(name, np.zeros(count)), np.float32))
        for name in STATISTIC_COUNTS
    }
    times = np.asarray(given.get("newest_save_time_us", np.zeros(count)), np.int64)
    with store.draft("pin_statistics", format_version=1) as draft:
        table = pa.table({**arrays, "newest_save_time_us": pa.array(times)})
        write_arrow(draft.path("statistics.arrow"), table)
        return draft.publish(as_of_us=as_of_us, details={"id_space": id_space}).id


def make_store(root: Path, count: int = 50, dimension: int = 16, seed: int = 0) -> GenerationStore:
    """A store with a catalogue, vectors and statistics of a random but seeded world."""
    rng = np.random.default_rng(seed)
    store = GenerationStore(root / "generations")
    languages = rng.choice(["en", "ja", "nl"], count).tolist()
    topics = [rng.choice(["art", "food", "cars", "dogs"], 2).tolist() for _ in range(count)]
    ages = rng.integers(0, 400, count)
    publish_catalogue(
        store,
        count,
        columns={
            "language": [None, *languages[1:]],
            "country": ["NL"] * count,
            "topics": [None, [], *topics[2:]],
            "creation_time_us": [None, *(int((NOW - age * DAY) * 1e6) for age in ages[1:])],
        },
    )
    publish_vectors(store, unit_vectors(count, dimension, seed))
    columns = {name: rng.gamma(1.0, 10.0, count) for name in STATISTIC_COUNTS}
    columns["newest_save_time_us"] = (NOW - ages * DAY) * 1e6
    publish_statistics(store, count, columns=columns)
    return store


def make_world(root: Path, count: int = 50, dimension: int = 16, seed: int = 0) -> World:
    """The world of `make_store`, opened."""
    return Artifacts(make_store(root, count, dimension, seed)).world()


def make_list(source: str, rows: Sequence[int], query_indexes: Sequence[int] = ()) -> SourceList:
    """A source's proposals with falling scores from 1."""
    return SourceList(
        source,
        np.array(rows, np.int32),
        np.linspace(1.0, 0.0, len(rows), endpoint=False, dtype=np.float32),
        np.array(query_indexes or [-1] * len(rows), np.int32),
    )


def make_candidates(*lists: SourceList, queried: Sequence[int] = ()) -> Candidates:
    """The answer of candidate_service that started from the pins at *queried*."""
    return Candidates(
        lists=lists,
        queried_rows=np.array(queried, np.int32),
        queried_ids=tuple(pin_id(row) for row in queried),
        is_medoid=np.ones(len(queried), np.bool_),
        inclusion_probabilities=np.linspace(0.5, 1.0, len(queried), dtype=np.float32),
    )


def make_profile(rows: Sequence[int], **fields: Any) -> Profile:
    """A profile with these medoids, of falling importance."""
    fields.setdefault("online_times", np.zeros(len(rows)))
    return Profile(
        medoid_ids=tuple(pin_id(row) for row in rows),
        importances=np.linspace(2.0, 1.0, len(rows), dtype=np.float32),
        action_counts=np.full(len(rows), 5, np.int32),
        **fields,
    )


class StillUpstream:
    """Other services that always answer the same; keeps what it was asked."""

    def __init__(self, candidates: Candidates, profile: Profile = NOBODY) -> None:
        self.asked: list[CandidateAsk] = []
        self.hidden: frozenset[str] = frozenset()
        self._candidates = candidates
        self._profile = profile

    def profile(self, user_id: str) -> Profile:
        """The same profile for everybody with a name."""
        return self._profile if user_id else NOBODY

    def candidates(self, ask: CandidateAsk, world: World) -> Candidates:
        """The same candidates for every question."""
        del world
        self.asked.append(ask)
        return self._candidates

    def showable(self, pin_ids: tuple[str, ...]) -> frozenset[str]:
        """All of them, but those that were hidden by a test."""
        return frozenset(pin_ids) - self.hidden


class KeptImpressions:
    """An impression log in memory."""

    def __init__(self) -> None:
        self.kept: list[tuple[Answer, NDArray[np.float32], float, int]] = []

    def record(
        self, answer: Answer, features: NDArray[np.float32], *, time: float, as_of_us: int
    ) -> None:
        """Keep what was shown."""
        self.kept.append((answer, features, time, as_of_us))


class KeptMemory:
    """Memboost that a test hands in; keeps what was noted."""

    def __init__(self, memory: Memboost = NO_MEMORY) -> None:
        self.memory = memory
        self.shown: list[Answer] = []
        self.acts: list[tuple[str, RecentActions]] = []

    def current(self) -> Memboost:
        """What was handed in."""
        return self.memory

    def note_shown(self, answer: Answer, time: float) -> None:
        """Keep the answer."""
        del time
        self.shown.append(answer)

    def note_acts(self, user_id: str, recent: RecentActions) -> None:
        """Keep the actions."""
        self.acts.append((user_id, recent))


def make_recommender(
    store: GenerationStore,
    config: RankingConfig,
    upstream: Any,
    impressions: KeptImpressions,
    memory: KeptMemory,
    book: str = "",
    shadow: Shadow | None = None,
) -> Recommender:
    """A recommender over fixed services, with a scenario file of this text."""
    rankers = Rankers(store, make_hand_tuned(), feature_names=FEATURE_NAMES)
    path = store.root / "scenarios.toml"
    store.root.mkdir(parents=True, exist_ok=True)
    path.write_text(book)
    metrics = Metrics("ranking_service")
    return Recommender(
        artifacts=Artifacts(store),
        models=ModelChoice(rankers, store, make_hand_tuned(), feature_names=FEATURE_NAMES),
        upstream=upstream,
        impressions=impressions,
        memory=memory,
        planner=Planner(path, config, stopped=lambda _: {}, metrics=metrics),
        pages=PageBook(store.root / "pages", config.page_seconds, lambda: NOW),
        lately=make_shown_lately(store.root / "shown_lately"),
        skew=SkewCheck(share=config.skew_check_share, alarm=0.5, metrics=metrics),
        shadow=shadow or make_shadow(store, rankers, config),
        config=config,
        clock=lambda: NOW,
    )


def make_shadow(
    store: GenerationStore, rankers: Rankers, config: RankingConfig, metrics: Metrics | None = None
) -> Shadow:
    """A staged model beside the serving one."""
    return Shadow(
        store,
        rankers,
        share=config.shadow_share,
        queue_count_max=config.shadow_queue_count_max,
        gain_default=config.memboost_gain,
        feature_names=FEATURE_NAMES,
        objective_weights=config.objective_weights,
        metrics=metrics or Metrics("ranking_service"),
    )


def make_shown_lately(folder: Path, user_count_max: int = 10, **given: Any) -> ShownLately:
    """What users were shown, in files of a folder; by the clock of the tests unless given."""
    given = {"clock": lambda: NOW, "metrics": Metrics("ranking_service"), **given}
    return ShownLately(folder, DAY, user_count_max, **given)
