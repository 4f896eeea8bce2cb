"""Turn the pins' pictures into vectors by a vision net that you bring (docs/visual-vectors.md).

Reads pictures from `data:` addresses and from files below `image_folder`; addresses of the web are
not fetched. Publishes `embedded_images`, which `build_content_vectors` makes searchable where no
visual vectors were imported. Pictures whose address did not change since the last run with the same
model are not opened again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from candidate_service import catalogue, vector_index
from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.content_vectors import EMBEDDED, EMBEDDED_FORMAT_VERSION
from candidate_service.image_hash import NotAPicture, open_picture
from candidate_service.picture_files import address_numbers, picture_bytes
from candidate_service.picture_net import PictureNet
from service_runtime.errors import InvalidRequest, NotReady
from service_runtime.generations import Generation
from service_runtime.job import JobContext, run_job
from service_runtime.vector_table import VectorTable, unit_rows

BATCH_COUNT: Final = 32
REFUSED_SHOWN: Final = 10
ADDRESSES_FILE: Final = "addresses.npy"


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Embed and publish.

    Returns:
        How many pictures have a vector, how many of them are new, and which could not be read.

    Raises:
        InvalidRequest: No model is named, or it is none that takes pictures.
    """
    config, store = context.config, context.generations
    if config.image_model_path is None:
        raise InvalidRequest(
            "no model is named", hint="set image_model_path; docs/visual-vectors.md"
        )
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    known = open_catalogue(source)
    model = hashlib.sha256(config.image_model_path.read_bytes()).hexdigest()
    net = PictureNet(config.image_model_path, config.image_model_output)
    told = f"{model}:{net.output}"
    addresses = address_numbers(known)
    vectors, is_done = _kept(context, known, addresses, told)
    wanted = np.flatnonzero((addresses != 0) & ~is_done)
    refused: list[str] = []
    advance = context.progress("pictures: embedded", total=len(wanted))
    for rows, pictures in _batches(known, wanted, config.image_folder, refused, advance):
        found = net.embed(pictures)
        if vectors is None:
            vectors = np.zeros((len(known), found.shape[1]), np.float32)
        vectors[rows] = unit_rows(found)
    if vectors is None:
        raise InvalidRequest(
            f"no pin has a picture that can be read ({len(refused)} were tried)",
            hint=refused[0] if refused else "import image_url; name image_folder for files",
        )
    generation = _publish(context, known, source, vectors, addresses, told)
    return {
        "generation": generation.id,
        "vector_count": int(vectors.any(axis=1).sum()),
        "new_count": len(wanted) - len(refused),
        "refused_count": len(refused),
        "refused": refused[:REFUSED_SHOWN],
    }


def _kept(
    context: JobContext[CandidateConfig],
    known: Catalogue,
    addresses: NDArray[np.uint64],
    told: str,
) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_]]:
    """Return the vectors that the last run made of the same pictures, and which those are."""
    is_done = np.zeros(len(known), np.bool_)
    try:
        last = context.generations.open_latest_good(
            EMBEDDED, format_version=EMBEDDED_FORMAT_VERSION
        )
    except NotReady:
        return None, is_done
    details = last.manifest.details
    if (details.get("id_space"), details.get("model")) != (known.id_space, told):
        return None, is_done
    made = VectorTable.open(last.file(vector_index.VECTORS_FILE)).vectors
    before = np.load(last.file(ADDRESSES_FILE), allow_pickle=False)
    count = min(len(made), len(known))
    is_done[:count] = (before[:count] == addresses[:count]) & made[:count].any(axis=1)
    vectors = np.zeros((len(known), made.shape[1]), np.float32)
    vectors[is_done] = made[np.flatnonzero(is_done)]
    return vectors, is_done


def _batches(
    known: Catalogue,
    wanted: NDArray[np.intp],
    folder: Path | None,
    refused: list[str],
    advance: Any,
) -> Iterator[tuple[list[int], list[Image.Image]]]:
    """Give rows and opened pictures, some at a time; note those that cannot be read."""
    rows: list[int] = []
    pictures: list[Image.Image] = []
    for row in wanted.tolist():
        address = known.pins.column("image_url")[row].as_py()
        (pin_id,) = known.ids.ids([row])
        what = f"the picture of pin {pin_id!r}"
        try:
            pictures.append(open_picture(picture_bytes(address, folder), what=what))
            rows.append(row)
        except NotAPicture as fault:
            refused.append(f"pin {pin_id!r}: {fault.message}")
        advance(1)
        if len(rows) == BATCH_COUNT:
            yield rows, pictures
            rows, pictures = [], []
    if rows:
        yield rows, pictures


def _publish(
    context: JobContext[CandidateConfig],
    known: Catalogue,
    source: Generation,
    vectors: NDArray[np.float32],
    addresses: NDArray[np.uint64],
    told: str,
) -> Generation:
    with context.generations.draft(EMBEDDED, format_version=EMBEDDED_FORMAT_VERSION) as draft:
        VectorTable.write(draft.path(vector_index.VECTORS_FILE), vectors)
        np.save(draft.path(ADDRESSES_FILE), addresses, allow_pickle=False)
        return draft.publish(
            as_of_us=context.as_of_us,
            inputs={catalogue.ARTIFACT: source.id},
            counts={
                "pin_count": len(known),
                "vector_count": int(vectors.any(axis=1).sum()),
            },
            details={
                **known.lineage(),
                "pin_count": len(known),
                "dimension": vectors.shape[1],
                "model": told,
            },
        )


def main() -> None:
    """Run the job as a process."""
    run_job("embed_images", run, CandidateConfig)


if __name__ == "__main__":
    main()
