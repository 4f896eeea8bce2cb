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
