"""Group the pins that show the same picture, by perceptual hashes.

A pin's hash is the imported one; where there is none it is made here of a `data:` address or a file
below `image_folder`. Pictures of the web are not fetched. A picture that was hashed once is not
opened again while its address stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from candidate_service import catalogue, duplicates
from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.duplicates import Duplicates, write_duplicates
from candidate_service.hamming import HASH_ROWS_FILE, HASHES_FILE, HammingIndex, write_hashes
from candidate_service.image_hash import NotAPicture, hash_image
from candidate_service.imported import open_saves
from candidate_service.picture_files import address_numbers, is_of_the_web, picture_bytes
from service_runtime.errors import NotReady
from service_runtime.job import JobContext, run_job

ADDRESSES_FILE: Final = "addresses.npy"
REFUSED_SHOWN: Final = 10


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Build and publish the groups; the most saved pin of a group stands for it.

    Returns:
        How many pins have a hash, how many groups there are and how many pins are in one.
    """
    config, store = context.config, context.generations
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    known = open_catalogue(source)
    rows, hashes = given_hashes(known)
    addresses = address_numbers(known)
    made_rows, made_hashes, refused = _made_hashes(context, known, addresses, without=rows)
    rows, hashes = np.concatenate((rows, made_rows)), np.concatenate((hashes, made_hashes))
    order = np.argsort(rows)
    rows, hashes = rows[order], hashes[order]
    index = HammingIndex(rows, hashes)
    leaders = index.groups(_save_counts(context, known)[index.rows], config.duplicate_distance_max)
    made = grouped(index.rows, leaders, pin_count=len(known))
    counts = {
        "pin_count": len(known),
        "hash_count": len(rows),
        "made_hash_count": len(made_rows),
        "refused_count": len(refused),
        "compared_count": len(index),
        "group_count": int(made.groups.max(initial=0)),
        "grouped_pin_count": int(np.count_nonzero(made.groups)),
    }
    with store.draft(duplicates.ARTIFACT, format_version=duplicates.FORMAT_VERSION) as draft:
        write_duplicates(draft, made)
        write_hashes(draft, rows, hashes)
        np.save(draft.path(ADDRESSES_FILE), addresses, allow_pickle=False)
        generation = draft.publish(
            as_of_us=context.as_of_us,
            inputs={catalogue.ARTIFACT: source.id},
            counts=counts,
            details={
                **known.lineage(),
                "pin_count": len(known),
                "distance_max": config.duplicate_distance_max,
            },
        )
    return {"generation": generation.id, **counts, "refused": refused[:REFUSED_SHOWN]}


def given_hashes(known: Catalogue) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Return the rows of pins that have a hash and are not deleted, ascending, and the hashes."""
    column = known.pins.column("image_hash")
    has_hash = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    rows = np.flatnonzero(has_hash & ~known.deleted())
    taken = column.take(pa.array(rows)).to_numpy(zero_copy_only=False)
    return rows.astype(np.int32), np.asarray(taken, np.uint64)


def _made_hashes(
    context: JobContext[CandidateConfig],
    known: Catalogue,
    addresses: NDArray[np.uint64],
    *,
    without: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.uint64], list[str]]:
    """Hash the pictures of pins that were imported without a hash.

    Returns:
        Rows and hashes, and for each picture that could not be read why.
    """
    urls = known.pins.column("image_url")
    folder = context.config.image_folder
    wanted = addresses != 0
    wanted[without] = False
    before = _hashes_before(context, known, addresses)
    rows, hashes, refused = [], [], []
    advance = context.progress("duplicates: pictures", total=int(wanted.sum()))
    for row in np.flatnonzero(wanted).tolist():
        advance(1)
        made = before.get(row)
        address = urls[row].as_py() if made is None else ""
        if made is None and (is_of_the_web(address) or not (folder or address[:5] == "data:")):
            continue
        try:
            made = hash_image(picture_bytes(address, folder)) if made is None else made
        except NotAPicture as fault:
            refused.append(f"the picture of pin {known.ids.ids([row])[0]!r}: {fault.message}")
            continue
        rows.append(row)
        hashes.append(made)
    return np.array(rows, np.int32), np.array(hashes, np.uint64), refused


def _hashes_before(
    context: JobContext[CandidateConfig], known: Catalogue, addresses: NDArray[np.uint64]
) -> dict[int, int]:
    """Return the hashes of the last generation by row, of pins whose address is still the same."""
    try:
        last = context.generations.open_latest_good(
            duplicates.ARTIFACT, format_version=duplicates.FORMAT_VERSION
        )
    except NotReady:
        return {}
    if last.manifest.details.get("id_space") != known.id_space:
        return {}
    names = (HASH_ROWS_FILE, HASHES_FILE, ADDRESSES_FILE)
    rows, hashes, old = (np.load(last.file(name), allow_pickle=False) for name in names)
    same = old[rows] == addresses[rows]
    return dict(zip(rows[same].tolist(), hashes[same].tolist(), strict=True))


def grouped(rows: NDArray[np.int32], leaders: NDArray[np.int32], *, pin_count: int) -> Duplicates:
    """Number the groups of two and more from 1 in the order of their leaders' rows.

    Args:
        rows: Pins that were compared, int32[n], ascending.
        leaders: Row of the pin that leads each, int32[n].
        pin_count: Rows of the catalogue; pins that were not compared are alone.
    """
    groups = np.zeros(pin_count, np.int32)
    representatives = np.ones(pin_count, np.bool_)
    names, inverse, sizes = np.unique(leaders, return_inverse=True, return_counts=True)
    numbers = np.where(sizes > 1, np.cumsum(sizes > 1), 0).astype(np.int32)
    groups[rows] = numbers[inverse]
    representatives[rows] = rows == names[inverse]
    return Duplicates(groups, representatives)


def _save_counts(context: JobContext[CandidateConfig], known: Catalogue) -> NDArray[np.float32]:
    """Return how many boards each pin is on, float32[pins]."""
    engine = context.engine
    open_saves(engine, context.data_root, context.as_of_us)
    engine.sql(
        "select pin_id, count(*) as board_count from saves group by pin_id", name="save_counts"
    )
    counts = np.zeros(len(known), np.float32)
    for batch in engine.stream("save_counts"):
        rows = known.ids.rows_arrow(batch.column("pin_id"))
        counts[rows[rows >= 0]] = np.asarray(batch.column("board_count"), np.float32)[rows >= 0]
    return counts


def main() -> None:
    """Run the job as a process."""
    run_job("build_duplicates", run, CandidateConfig)


if __name__ == "__main__":
    main()
