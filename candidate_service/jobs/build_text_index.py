"""Make pins findable by their words: titles, descriptions, topics, titles of their boards."""

# ruff: noqa: S608  queries are put together from our own names and numbers, never from data

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import catalogue, text_index
from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.imported import open_pins, open_saves
from candidate_service.text_index import Terms, terms_of, texts_of, write_text_index
from service_runtime.job import JobContext, run_job

BLOCK_ROWS: Final = 10_000

Titles = tuple[NDArray[np.int32], list[str]]


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Build and publish the index.

    Returns:
        How many pins have words, and how many titles of boards were added to them.
    """
    store = context.generations
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    known = open_catalogue(source)
    open_pins(context.engine, context.data_root, context.as_of_us)
    open_saves(context.engine, context.data_root, context.as_of_us)
    rows, titles = _board_titles(context, known)
    advance = context.progress("text: pins", total=len(known))
    with store.draft(text_index.ARTIFACT, format_version=text_index.FORMAT_VERSION) as draft:
        written = write_text_index(draft, _documents(known, (rows, titles)), advance=advance)
        counts = {
            "pin_count": len(known),
            "document_count": written.document_count,
            "board_title_count": len(titles),
        }
        generation = draft.publish(
            as_of_us=context.as_of_us,
            inputs={catalogue.ARTIFACT: source.id},
            counts=counts,
            details={
                **known.lineage(),
                "pin_count": len(known),
                "mean_lengths": dict(written.mean_lengths),
            },
        )
    return {"generation": generation.id, **counts}


def _board_titles(context: JobContext[CandidateConfig], known: Catalogue) -> Titles:
    """Return pairs of a pin's row, ascending, and the title of a board that it is on."""
    engine = context.engine
    engine.sql(
        "select saves.pin_id as pin_id, board_titles.board_title as board_title, "
        "count(*) as board_count from saves "
        "join board_titles on saves.board_id = board_titles.board_id "
        "group by saves.pin_id, board_titles.board_title",
        name="titles_of_pins",
    )
    engine.sql(
        "select pin_id, board_title from (select pin_id, board_title, row_number() over ("
        "partition by pin_id order by board_count desc, board_title) as place "
        "from titles_of_pins) numbered "
        f"where place <= {context.config.text_board_title_count_max} order by pin_id, place",
        name="chosen_titles",
    )
    parts, titles = [np.empty(0, np.int32)], []
    for batch in engine.stream("chosen_titles"):
        parts.append(known.ids.rows_arrow(batch.column("pin_id")))
        titles += batch.column("board_title").to_pylist()
    rows = np.concatenate(parts)
    order = np.argsort(rows, kind="stable")
    order = order[np.searchsorted(rows[order], 0) :]  # pins that the catalogue does not know
    return rows[order], [titles[at] for at in order.tolist()]


def _documents(known: Catalogue, titled: Titles) -> Iterator[tuple[int, Terms]]:
    """Give the terms of each pin in the order of rows; deleted pins have none."""
    deleted = known.deleted()
    rows, titles = titled
    for begin in range(0, len(known), BLOCK_ROWS):
        end = min(begin + BLOCK_ROWS, len(known))
        bounds = np.searchsorted(rows, np.arange(begin, end + 1))
        for at, text in enumerate(texts_of(known.pins.slice(begin, end - begin))):
            mine = tuple(titles[bounds[at] : bounds[at + 1]])
            row = begin + at
            yield row, {} if deleted[row] else terms_of(replace(text, board_titles=mine))


def main() -> None:
    """Run the job as a process."""
    run_job("build_text_index", run, CandidateConfig)


if __name__ == "__main__":
    main()
