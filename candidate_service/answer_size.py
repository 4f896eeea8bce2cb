"""How large an answer may become: counted while it is made, so that memory stays bounded too."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Message

from service_runtime.errors import Exhausted

TITLE_BYTES_MAX: Final = 1024
"""Of a title among many others; GetPins tells titles in full."""


class AnswerTooLarge(Exhausted):
    """The answer would be larger than a message may be; a smaller question has one."""


def entry_bytes(message: Message) -> int:
    """Return how many bytes a message takes as one of a list (of a field below 16)."""
    size = message.ByteSize()
    return 1 + max(1, (size.bit_length() + 6) // 7) + size


def short_title(title: str) -> str:
    """Return a title cut to the bytes that it may have among many others."""
    if len(title) * 4 <= TITLE_BYTES_MAX:
        return title
    return title.encode()[:TITLE_BYTES_MAX].decode(errors="ignore")
