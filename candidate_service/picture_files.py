"""Where the pins' pictures are read from: `data:` addresses and files; never the web."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candidate_service.catalogue import Catalogue
from candidate_service.image_hash import NotAPicture


def picture_bytes(address: str, folder: Path | None) -> bytes:
    """Return the file that an `image_url` names.

    Args:
        address: A `data:` address, or a path below *folder*.
        folder: Where files are; None = only `data:` addresses are read.

    Raises:
        NotAPicture: It is of the web, outside of the folder, not there, or no path at all.
    """
    if address.startswith("data:"):
        head, comma, body = address.partition(",")
        if not comma or not head.endswith(";base64"):
            raise NotAPicture("its data: address holds no base64")
        try:
            return base64.b64decode(body, validate=True)
        except ValueError as fault:  # binascii's own, and what is not ASCII
            raise NotAPicture(f"its data: address is broken: {fault}") from fault
    if is_of_the_web(address) or folder is None:
        raise NotAPicture(f"{address[:100]!r} is not fetched; put the files below image_folder")
    try:
        path = (folder / address).resolve()
        if path.is_relative_to(folder.resolve()):
            return path.read_bytes()
    except OSError as fault:
        raise NotAPicture(f"{address[:100]!r} cannot be read: {fault.strerror}") from fault
    except (ValueError, RuntimeError) as fault:  # no path at all; links that lead to each other
        raise NotAPicture(f"{address[:100]!r} is no path: {fault}") from fault
    raise NotAPicture(f"{address[:100]!r} lies outside of {folder}")


def is_of_the_web(address: str) -> bool:
    """Say whether an address would have to be fetched."""
    return "://" in address


def address_numbers(known: Catalogue) -> NDArray[np.uint64]:
    """Return a number for each pin's picture address, uint64[pins]; 0: it has none or is deleted.

    Equal addresses have equal numbers; different ones too with a chance of 2**-63.
    """
    numbers = np.zeros(len(known), np.uint64)
    deleted = known.deleted()
    for row, address in enumerate(known.pins.column("image_url").to_pylist()):
        if address and not deleted[row]:
            digest = hashlib.blake2b(address.encode(), digest_size=8).digest()
            numbers[row] = int.from_bytes(digest, "big") | 1
    return numbers
