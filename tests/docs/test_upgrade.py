"""docs/upgrade.md names every format there is, with the versions that the code reads and writes."""

import re

from candidate_service import (
    catalogue,
    content_vectors,
    cooccurrence,
    duplicates,
    fresh_pool,
    graph,
    pin2vec,
    pin_statistics,
    pin_vectors,
    save_index,
    text_index,
    vector_index,
)
from candidate_service.sources import popular
from corkboard import backup
from corkboard.steps import STEPS
from profile_service import generation_store, store
from ranking_service import experiment_results, impressions, ranker
from ranking_service.memboost import table as memboost
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "upgrade.md"

WRITTEN = {
    "catalogue": catalogue.FORMAT_VERSION,
    "save_index": save_index.FORMAT_VERSION,
    "pin_vectors": pin_vectors.FORMAT_VERSION,
    "popular": popular.FORMAT_VERSION,
    "pin_statistics": pin_statistics.FORMAT_VERSION,
    "board_cooccurrence": cooccurrence.FORMAT_VERSION,
    "vector_index": vector_index.FORMAT_VERSION,
    "graph": graph.FORMAT_VERSION,
    "duplicates": duplicates.FORMAT_VERSION,
    "text_index": text_index.FORMAT_VERSION,
    "text_vectors": content_vectors.FORMAT_VERSION,
    "visual_vectors": content_vectors.FORMAT_VERSION,
    "embedded_images": content_vectors.EMBEDDED_FORMAT_VERSION,
    "fresh": fresh_pool.FORMAT_VERSION,
    "pin2vec": pin2vec.FORMAT_VERSION,
    "profiles": generation_store.FORMAT_VERSION,
    "ranker": ranker.RANKER_FORMAT_VERSION,
    "memboost": memboost.FORMAT_VERSION,
    "experiments": experiment_results.FORMAT_VERSION,
    "live action log and profile store (LMDB)": store.FORMAT_VERSION,
    "impression log": impressions.RECORD_VERSION,
    "backup": backup.FORMAT_VERSION,
}
READ = {
    "catalogue": set(catalogue.READABLE_VERSIONS),
    "vector_index": set(vector_index.FORMAT_VERSIONS),
    "graph": set(graph.FORMAT_VERSIONS),
}


def rows() -> dict[str, tuple[int, set[int], list[str]]]:
    """Written version, versions read and golden folders by what the page calls it."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 4 or not cells[1].isdigit():
            continue
        read = {int(number) for number in cells[2].split(",")}
        names = re.findall(r"`([^`]+)`", cells[0]) or [cells[0]]
        for name in names:
            found[name] = (int(cells[1]), read, re.findall(r"`(tests/[^`]+)`", cells[3]))
    assert len(found) > 20
    return found


def test_versions_are_those_of_the_code() -> None:
    """Whoever changes a format sees this fail, and writes the page and a golden folder."""
    told = rows()

    assert {name: told[name][0] for name in WRITTEN} == WRITTEN
    assert {name: told[name][1] for name in READ} == READ


def test_every_artifact_has_a_row_and_a_golden_folder() -> None:
    """None is left out, and no folder is empty."""
    told = rows()
    made = {artifact for step in STEPS for artifact in step.makes}

    assert made - set(told) == set()
    for name, (_, _, folders) in told.items():
        assert folders, name
        assert all(any((ROOT / folder).rglob("*.*")) for folder in folders), name
