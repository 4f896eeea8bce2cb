"""The words of pins, findable: a BM25 index of several fields, the only door to tantivy's indexes.

Each pin is one document. Its words are analysed by `text_analysis` and handed over as finished
terms, so that tantivy only counts. The score of a pin is the sum over fields and query terms of
boost times BM25 (k1 1.2, b 0.75; Robertson and Zaragoza 2009), with each field's own statistics.

The files lie in a generation and are never written to again. tantivy locks a file beside the index
when it opens it; where the folder is read-only, the index is copied aside first.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import tantivy
from numpy.typing import NDArray

from candidate_service.text_analysis import grams, stems
from service_runtime.errors import Corrupted
from service_runtime.generations import Draft, Generation

ARTIFACT: Final = "text_index"
FORMAT_VERSION: Final = 1
FOLDER: Final = "index"

WORDS: Final = "words"
DESCRIPTION: Final = "description"
BOARDS: Final = "boards"
GRAMS: Final = "grams"
FIELDS: Final = (WORDS, DESCRIPTION, BOARDS, GRAMS)
"""Stems of title and topics; of the description; of titles of boards; grams of title and topics."""

K1: Final = 1.2
B: Final = 0.75
_ROW: Final = "row"
_TEXT_COLUMNS: Final = ("title", "description", "topics", "language")
_HEAP_BYTES: Final = 256_000_000
_LOCKS: Final = (".tantivy-meta.lock", ".tantivy-writer.lock")
_HINT: Final = "build it again: python -m candidate_service.jobs.build_text_index"


@dataclass(frozen=True, slots=True)
class PinText:
    """All that is written about a pin; texts may be empty.

    Attributes:
        title: Its title.
        description: Its description.
        topics: Its topics.
        language: Of these texts, as in BCP 47; "" = not known.
        board_titles: Titles of boards that it was saved to.
    """

    title: str = ""
    description: str = ""
    topics: tuple[str, ...] = ()
    language: str = ""
    board_titles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryTerm:
    """A term to look for in a field, and what a match counts there (> 0)."""

    field: str
    term: str
    boost: float


Terms = Mapping[str, Sequence[str]]
"""Terms of a document by field, repeats kept."""


def terms_of(text: PinText) -> dict[str, list[str]]:
    """Return what is indexed of a pin, by field; fields without terms are left out."""
    head = " ".join((text.title, *text.topics))
    terms = {
        WORDS: stems(head, text.language),
        DESCRIPTION: stems(text.description, text.language),
        BOARDS: stems(" ".join(text.board_titles), text.language),
        GRAMS: grams(head),
    }
    return {field: found for field, found in terms.items() if found}


def texts_of(known: pa.Table) -> list[PinText]:
    """Return what is written about pins, from columns of the catalogue."""
    return [
        PinText(
            title=row["title"] or "",
            description=row["description"] or "",
            topics=tuple(row["topics"] or ()),
            language=row["language"] or "",
        )
        for row in known.select(_TEXT_COLUMNS).to_pylist()
    ]


def inverse_frequency(holder_count: int, document_count: int) -> float:
    """Return BM25's weight of a term, ln(1 + (N - n + 1/2) / (n + 1/2)) with n held to N."""
    holders = min(holder_count, document_count)
    return math.log1p((document_count - holders + 0.5) / (holders + 0.5))


def term_scores(
    counts: NDArray[np.int64], lengths: NDArray[np.int64], mean_length: float
) -> NDArray[np.float64]:
    """Return BM25's part of terms that occur *counts* times in fields of *lengths* terms.

    Args:
        counts: int64[n], >= 1.
        lengths: int64[n], >= 1.
        mean_length: Of the field over all documents; 0 = not known, all are taken as of the mean.
    """
    scale = 1.0 - B + B * lengths / mean_length if mean_length > 0 else np.ones(len(lengths))
    return np.asarray((K1 + 1.0) * counts / (counts + K1 * scale))


class TextIndex:
    """One opened generation; safe from any number of threads.

    Attributes:
        pin_count: Rows of the catalogue that it was built from; younger pins are not in it.
        document_count: Pins that have any text.
        mean_lengths: Mean number of terms of each field over all documents.
    """

    def __init__(
        self, index: tantivy.Index, *, pin_count: int, mean_lengths: Mapping[str, float]
    ) -> None:
        """Take an opened index; use `open_text_index`."""
        self._schema = index.schema
        self._searcher = index.searcher()
        self.pin_count = pin_count
        self.document_count = int(self._searcher.num_docs)
        self.mean_lengths = dict(mean_lengths)

    def holder_count(self, field: str, term: str) -> int:
        """Return how many pins hold a term in a field."""
        return self._searcher.doc_freq(field, term)

    def find(
        self,
        terms: Sequence[QueryTerm],
        count: int,
        *,
        within: NDArray[np.int32] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the pins that match the terms best.

        Args:
            terms: Any of them may match; a repeated one counts again.
            count: How many, >= 0.
            within: Only these rows, int32[m]; None = all. Meant for some thousands.

        Returns:
            Rows int32[n] and scores float32[n], best first, lower row first among equals;
            n <= count. Pins that match no term are not among them.

        Cost: 0.1 to 0.5 ms for some words and 100,000 pins, 3 us for each pin returned.
        """
        if count <= 0 or not terms or (within is not None and not len(within)):
            return np.empty(0, np.int32), np.empty(0, np.float32)
        query = self._any_of(terms)
        if within is not None:
            rows = tantivy.Query.term_set_query(self._schema, _ROW, within.tolist())
            query = tantivy.Query.boolean_query(
                [
                    (tantivy.Occur.Must, query),
                    (tantivy.Occur.Must, tantivy.Query.const_score_query(rows, 0.0)),
                ]
            )
        hits = self._searcher.search(query, limit=count, count=False).hits
        found = self._searcher.fast_field_values(_ROW, [address for _, address in hits])
        rows_found = np.array(found, np.int32)
        scores = np.array([score for score, _ in hits], np.float32)
        order = np.lexsort((rows_found, -scores))
        return rows_found[order], scores[order]

    def _any_of(self, terms: Sequence[QueryTerm]) -> tantivy.Query:
        parts = []
        for one in terms:
            query = tantivy.Query.term_query(self._schema, one.field, one.term, "freq")
            parts.append((tantivy.Occur.Should, tantivy.Query.boost_query(query, one.boost)))
        return tantivy.Query.boolean_query(parts)


@dataclass(frozen=True, slots=True)
class TextCounts:
    """What was written.

    Attributes:
        document_count: Pins that have any text.
        mean_lengths: Mean number of terms of each field over all documents.
    """

    document_count: int
    mean_lengths: Mapping[str, float]


def write_text_index(
    draft: Draft,
    documents: Iterable[tuple[int, Terms]],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> TextCounts:
    """Write the index of a generation in the making; one segment, documents in the order given.

    Args:
        draft: Its details need `pin_count` and `mean_lengths`.
        documents: Row and terms of each pin, rows ascending; pins without terms are left out.
        advance: Told how many documents were read since the last call.

    Cost: some 20 us for a pin of 20 words, 100 to 300 bytes of disk.
    """
    folder = draft.path(FOLDER)
    folder.mkdir()
    index = tantivy.Index(_schema(), str(folder))
    writer = index.writer(_HEAP_BYTES, 1)
    totals: Counter[str] = Counter()
    document_count = 0
    for row, terms in documents:
        advance(1)
        if not terms:
            continue
        document = tantivy.Document()
        document.add_unsigned(_ROW, row)
        for field, found in terms.items():
            document.add_text(field, " ".join(found))
            totals[field] += len(found)
        writer.add_document(document)
        document_count += 1
    writer.commit()
    writer.wait_merging_threads()
    for name in _LOCKS:
        (folder / name).unlink(missing_ok=True)
    means = {field: totals[field] / max(1, document_count) for field in FIELDS}
    return TextCounts(document_count, means)


def open_text_index(generation: Generation) -> TextIndex:
    """Map a generation.

    Raises:
        Corrupted: It cannot be read, or does not hold what its manifest says.
    """
    details: dict[str, Any] = dict(generation.manifest.details)
    folder = generation.file(FOLDER)
    try:
        index = _open(folder)
        opened = TextIndex(
            index,
            pin_count=int(details["pin_count"]),
            mean_lengths={field: float(details["mean_lengths"][field]) for field in FIELDS},
        )
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise _unreadable(generation, str(fault)) from fault
    counted = generation.manifest.counts.get("document_count")
    if opened.document_count != counted:
        raise _unreadable(
            generation, f"it holds {opened.document_count} pins, its manifest says {counted}"
        )
    return opened


def _open(folder: Path) -> tantivy.Index:
    try:
        return tantivy.Index.open(str(folder))
    except ValueError:
        if _is_writable(folder):
            raise
    with tempfile.TemporaryDirectory(prefix="corkboard-text-") as aside:
        for path in folder.iterdir():
            shutil.copyfile(path, Path(aside) / path.name)
        return tantivy.Index.open(aside)  # what is mapped stays when the names go


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field(_ROW, indexed=True, fast=True)
    for field in FIELDS:
        builder.add_text_field(field, tokenizer_name="whitespace", index_option="freq")
    return builder.build()


def _unreadable(generation: Generation, reason: str) -> Corrupted:
    return Corrupted(f"text_index {generation.id} cannot be opened: {reason}", hint=_HINT)
