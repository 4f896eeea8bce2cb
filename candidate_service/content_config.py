"""Settings of what reads texts and pictures: text_search, visual, and the jobs behind them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from service_runtime.config import ServiceConfig


class ContentConfig(ServiceConfig):
    """Settings of words and pictures."""

    # text_search and SearchPins.
    text_search_term_count: int = Field(
        16, ge=1, le=64, description="Most telling words of a pin that make its query. Guess."
    )
    text_search_query_pin_count_max: int = Field(
        8,
        ge=1,
        le=100,
        description="Query pins that are searched for, the heaviest; 1 to 5 ms each. Guess.",
    )
    text_search_vector_weight: float = Field(
        1.0, gt=0, le=100, description="Of the list by vectors of text beside BM25's (1). Guess."
    )
    text_search_gram_boost: float = Field(
        0.25,
        ge=0,
        le=10,
        description="What grams of letters count beside words (1) in a search; 0 = not. Measured.",
    )

    text_search_pin_holder_count_max: int = Field(
        500_000,
        ge=1,
        description="Pins that may hold the words of one query pin's search together, rarest words "
        "first; 10 ms a million, and what most pins hold tells nothing. Measured.",
    )
    text_search_query_holder_count_max: int = Field(
        1_000_000,
        ge=1,
        description="The same of words and grams that were typed, of which a request has one lot.",
    )

    # Jobs: build_text_index.
    text_board_title_count_max: int = Field(
        20, ge=0, le=1000, description="Commonest titles of its boards indexed of a pin. Guess."
    )

    # visual, and jobs: build_duplicates.
    duplicate_distance_max: int = Field(
        4,
        ge=0,
        le=11,
        description="Bits of 64 in which hashes of the same picture may differ. Measured.",
    )

    # Jobs: embed_images.
    image_model_path: Path | None = Field(
        None, description="ONNX file of a vision net; docs/visual-vectors.md. Unset: no such job."
    )
    image_model_output: str = Field(
        "", description="Which output is the vector: the second-to-last layer. Empty: the first."
    )
    image_folder: Path | None = Field(
        None, description="Where image_url that are no web or data: addresses are looked up."
    )
