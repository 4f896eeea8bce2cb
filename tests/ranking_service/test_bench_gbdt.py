"""The benchmark of the scorer, in small: it must not rot."""

from benchmarks.bench_gbdt import ROW_COUNTS, measure


def test_the_benchmark_measures_every_row_count() -> None:
    """Scores are compared to the bit inside; here only that there are figures."""
    lines = measure((4, 8), rounds=1, train_rows=500)

    assert [line["rows"] for line in lines] == list(ROW_COUNTS)
    assert all(line["ratio"] > 0 for line in lines)
