"""What the metrics page says of generations."""

from pathlib import Path

from service_runtime.generation_metrics import GenerationMetrics
from service_runtime.generations import GenerationStore, Live
from service_runtime.telemetry import Metrics


def publish(store: GenerationStore, *, as_of_us: int) -> Path:
    """Publish a generation of `words` and return its only file."""
    with store.draft("words", format_version=1) as draft:
        draft.path("words.txt").write_text("some")
        generation = draft.publish(as_of_us=as_of_us)
    return generation.path / "words.txt"


def test_page_tells_age_swaps_and_refusals(tmp_path: Path) -> None:
    """Nothing yet, then one generation, then a damaged one that is refused while the old serves."""
    store = GenerationStore(tmp_path)
    metrics = Metrics("test")
    live = Live(store, "words", 1, lambda generation: generation.file("words.txt").read_text())
    GenerationMetrics(metrics, lambda: [live])
    before = metrics.text()
    publish(store, as_of_us=1_000_000_000_000_000)
    live.poll()
    publish(store, as_of_us=2_000_000_000_000_000).write_text("damaged")
    live.poll()

    after = metrics.text().splitlines()
    assert 'test_generation_ready{artifact="words"} 0.0' in before
    assert 'test_generation_ready{artifact="words"} 1.0' in after
    assert 'test_generation_as_of_seconds{artifact="words"} 1e+09' in after
    assert 'test_generation_swaps_total{artifact="words"} 1.0' in after
    assert 'test_generation_refusals_total{artifact="words"} 1.0' in after
    assert 'test_generation_refused{artifact="words"} 0.0' in before
    assert 'test_generation_refused{artifact="words"} 1.0' in after


def test_refusal_at_the_start_is_told(tmp_path: Path) -> None:
    """The first page that anybody reads says so, and so does each that follows."""
    store = GenerationStore(tmp_path)
    publish(store, as_of_us=1_000_000_000_000_000)
    publish(store, as_of_us=2_000_000_000_000_000).write_text("damaged")
    metrics = Metrics("test")
    live = Live(store, "words", 1, lambda generation: generation.file("words.txt").read_text())
    GenerationMetrics(metrics, lambda: [live])

    first = metrics.text()
    live.poll()

    assert 'test_generation_refused{artifact="words"} 1.0' in first
    assert 'test_generation_refused{artifact="words"} 1.0' in metrics.text()
    assert 'test_generation_open_failures_total{artifact="words"} 0.0' in first


def test_artifact_that_two_parts_follow_has_one_series(tmp_path: Path) -> None:
    """Prometheus keeps one of two equal series, by chance the good one: the worst is shown."""
    store = GenerationStore(tmp_path)
    publish(store, as_of_us=1_000_000_000_000_000)
    metrics = Metrics("test")
    lives = [
        Live(store, "words", 1, lambda generation: generation.file("words.txt").read_text())
        for _ in range(2)
    ]
    GenerationMetrics(metrics, lambda: lives)
    publish(store, as_of_us=2_000_000_000_000_000)
    lives[0].poll()

    page = metrics.text().splitlines()

    found = [line for line in page if line.startswith("test_generation_as_of_seconds{")]
    assert found == ['test_generation_as_of_seconds{artifact="words"} 1e+09']
    assert 'test_generation_swaps_total{artifact="words"} 3.0' in page
