"""Words read like a dictionary of their places."""

import pyarrow as pa

from ranking_service.word_codes import WordCodes


def test_it_reads_as_the_dictionary_of_its_places() -> None:
    """Words of any script have the place where they stand; others, and none at all, have none."""
    words = ["red", "", "京都", "bike", "e\u0301te\u0301", "x" * 300, *map(str, range(500))]

    codes = WordCodes(pa.array(words))

    assert codes == {word: code for code, word in enumerate(words) if word}
    assert codes.codes_of(["bike", "", "unknown", "京都"]).tolist() == [3, -1, -1, 2]
    assert codes.codes_of([]).size == 0


def test_no_words_are_an_empty_mapping() -> None:
    """Nothing is known then, whatever is asked."""
    for empty in (WordCodes(pa.array([], pa.string())), WordCodes(pa.array([""]))):
        assert dict(empty) == {}
        assert empty.codes_of(["red", ""]).tolist() == [-1, -1]
