"""Each kind of value obeys its rules, a column at a time."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corkboard.importing.checking import Checked, Rules, check_column
from corkboard.importing.columns import ACTION_TYPES, Column, Kind

NOW_US = 1_767_225_600_000_000


def check(values: object, kind: Kind, *, name: str = "x", required: bool = False) -> Checked:
    """Check one column."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    column = Column(name, kind, is_required=required)
    return check_column(pa.chunked_array([array]), name, column, Rules(NOW_US))


def reasons(checked: Checked) -> dict[str, list[int]]:
    """Return which rows have which reason."""
    return {why: np.flatnonzero(rows).tolist() for why, rows in checked.faults.items()}


class TestLines:
    """Texts of one line."""

    def test_control_characters_are_refused_and_blanks_trimmed(self) -> None:
        """What stands around an address is not part of it; texts of several lines stay as is."""
        values = pa.chunked_array([pa.array([" a.png\r\n", "a\nb", "a\x00", "x" * 65_537, None])])
        line = Column("image_url", Kind.TEXT, is_one_line=True)
        checked = check_column(values, "image_url", line, Rules(NOW_US))
        text = check_column(values, "title", Column("title", Kind.TEXT), Rules(NOW_US))

        assert checked.values.to_pylist() == ["a.png", None, None, None, None]
        assert reasons(checked) == {
            "has a control character": [1, 2],
            "is longer than 65536 bytes": [3],
        }
        assert text.values.to_pylist()[:3] == [" a.png\r\n", "a\nb", "a\x00"]


class TestIds:
    def test_text_and_whole_numbers_are_ids(self) -> None:
        """Integers become their digits, dictionaries and bytes their text."""
        assert check(["a", "ü"], Kind.ID).values.to_pylist() == ["a", "ü"]
        assert check([1, 2**60], Kind.ID).values.to_pylist() == ["1", str(2**60)]
        assert check(pa.array(["a", "a"]).dictionary_encode(), Kind.ID).values.to_pylist() == ["a", "a"]  # fmt: skip  # noqa: E501
        assert check([b"a"], Kind.ID).values.to_pylist() == ["a"]

    def test_each_rule_has_its_reason(self) -> None:
        """Too long, control character, missing: each row under its own."""
        checked = check(["x" * 129, "a\nb", "", None, "good", "ü" * 65], Kind.ID, required=True)

        assert reasons(checked) == {
            "is longer than 128 bytes": [0, 5],
            "has a control character": [1],
            "is missing": [2, 3],
        }
        assert checked.values.to_pylist() == [None, None, None, None, "good", None]

    def test_empty_is_fine_where_it_is_not_required(self) -> None:
        """An optional id may be null or empty."""
        checked = check(["", None, "a"], Kind.ID)

        assert checked.values.to_pylist() == [None, None, "a"]
        assert reasons(checked) == {}

    @pytest.mark.parametrize("values", [[1.5], [True], [["a"]], [{"a": 1}]])
    def test_other_types_are_no_ids(self, values: list[object]) -> None:
        """1.0 and 1 are different texts, so numbers with a point are refused."""
        assert reasons(check(values, Kind.ID)) == {"must be text or a whole number": [0]}

    def test_broken_utf8_is_found(self) -> None:
        """Bytes that are no UTF-8 are named, not passed on."""
        checked = check([b"good", b"\xff\xfe", None], Kind.ID)

        assert reasons(checked) == {"is not UTF-8": [1]}
        assert checked.values.to_pylist() == ["good", None, None]

    @settings(deadline=None)
    @given(st.lists(st.one_of(st.none(), st.text(max_size=140)), max_size=20))
    def test_ids_equal_the_rule_in_words(self, values: list[str | None]) -> None:
        """Good are exactly: 1 to 128 bytes, no byte below space, no delete."""
        checked = check(pa.array([v if v is None else v.encode("utf-8", "replace").decode() for v in values], pa.string()), Kind.ID, required=True)  # fmt: skip  # noqa: E501

        for value, kept in zip(values, checked.values.to_pylist(), strict=True):
            clean = None if value is None else value.encode("utf-8", "replace").decode()
            good = bool(clean) and len(clean.encode()) <= 128 and all(
                ord(c) >= 32 and c != "\x7f" for c in clean
            )  # fmt: skip
            assert kept == (clean if good else None)


class TestWords:
    @pytest.mark.parametrize("text", ["a|b c", "a; b c", " a ,b c ", '["a", "b c"]', "a||b c|"])
    def test_text_is_split(self, text: str) -> None:
        """Any of the separators, and JSON in a cell."""
        assert check([text], Kind.WORDS).values.to_pylist() == [["a", "b c"]]

    def test_lists_are_taken(self) -> None:
        """Empty words vanish, null stays null, empty stays empty."""
        checked = check([["a", "", None, " b "], None, []], Kind.WORDS)

        assert checked.values.to_pylist() == [["a", "b"], None, []]

    def test_words_that_are_too_long_are_named(self) -> None:
        """One long word makes its row bad."""
        checked = check([["a"], ["x" * 129]], Kind.WORDS)

        assert reasons(checked) == {"has a word longer than 128 bytes": [1]}
        assert checked.values.to_pylist() == [["a"], None]

    def test_language_and_country_are_folded(self) -> None:
        """Languages are written small, countries large."""
        assert check([" EN "], Kind.WORD, name="language").values.to_pylist() == ["en"]
        assert check(["us"], Kind.WORD, name="country").values.to_pylist() == ["US"]


class TestActionTypes:
    def test_known_types_in_any_writing(self) -> None:
        """The wire's name, its lower case, hyphens, and a few nicknames."""
        given_types = ["save", "ACTION_TYPE_LONG_CLICK", "Close-Up", "closeup", "add to cart"]

        expected = ["save", "long_click", "close_up", "close_up", "add_to_cart"]
        assert check(given_types, Kind.ACTION_TYPE).values.to_pylist() == expected

    def test_unknown_types_are_told_the_known_ones(self) -> None:
        """The reason lists what would be right."""
        (reason,) = check(["stare"], Kind.ACTION_TYPE).faults

        assert all(name in reason for name in ACTION_TYPES)
        assert len(ACTION_TYPES) == 14


class TestNumbers:
    def test_strengths_lie_between_minus_one_and_one(self) -> None:
        """Numbers and numbers as text; anything else has its reason."""
        checked = check(["0.5", "-1", "1.5", "nan", "x", "", " +1 "], Kind.NUMBER)

        assert checked.values.to_pylist() == [0.5, -1.0, None, None, None, None, 1.0]
        assert reasons(checked) == {
            "is not a number": [4],
            "is not finite": [3],
            "is not from -1 to 1": [2],
        }
        assert check([1, 0], Kind.NUMBER).values.to_pylist() == [1.0, 0.0]


class TestVectors:
    def test_lists_of_any_number_type(self) -> None:
        """Doubles, integers, fixed-size and large lists become float32 lists."""
        for kind in (
            pa.list_(pa.float64()), pa.list_(pa.int32()), pa.list_(pa.float32(), 2),
            pa.large_list(pa.float16()),
        ):  # fmt: skip
            checked = check(pa.array([[1, 2], None, [3, 4]], kind), Kind.VECTOR)

            assert checked.values.to_pylist() == [[1, 2], None, [3, 4]]
            assert reasons(checked) == {}

    @pytest.mark.parametrize("text", ["[1, -2.5e1]", "1 -25", "1,-25", "1|-25.0", "(1; -25)"])
    def test_text_in_a_cell(self, text: str) -> None:
        """However a table writes a list of numbers."""
        assert check([text, None], Kind.VECTOR).values.to_pylist() == [[1, -25], None]

    def test_each_rule_has_its_reason(self) -> None:
        """Dimension, zero, NaN, infinity, float32 overflow, holes, nonsense."""
        values = [[1, 2], [1, 2, 3], [0, 0], [math.nan, 1], [1e39, 1], [None, 1], [1, math.inf], []]

        checked = check(pa.array(values, pa.list_(pa.float64())), Kind.VECTOR)

        assert reasons(checked) == {
            "holds something that is no number": [5],
            "is not finite": [3, 4, 6],
            "is empty": [7],
            "has not 2 numbers as the first vector of this import": [1],
            "is zero": [2],
        }
        assert checked.values.to_pylist() == [[1, 2], *[None] * 7]
        assert reasons(check(["1 two"], Kind.VECTOR)) == {"holds something that is no number": [0]}

    def test_the_dimension_of_earlier_imports_counts(self) -> None:
        """A second import cannot change the space."""
        rules = Rules(NOW_US, {"vector": 3}, {"vector": "the vectors imported before"})
        column = Column("vector", Kind.VECTOR)

        checked = check_column(pa.chunked_array([[[1.0, 2.0]]]), "vector", column, rules)

        assert list(checked.faults) == ["has not 3 numbers as the vectors imported before"]


def test_no_rows_are_fine() -> None:
    """Every kind takes a column without values."""
    for kind in Kind:
        assert len(check(pa.array([], pa.string()), kind).values) == 0
