"""Names of columns are understood, and documented as they are understood."""

from pathlib import Path

import pytest

from corkboard.importing.columns import ACTION_TYPES, ACTIONS, FORMS, PINS, SAVES, Form

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("form", "given", "name"),
    [
        (PINS, "Pin ID", "pin_id"),
        (PINS, "id", "pin_id"),
        (SAVES, " item-id ", "pin_id"),
        (SAVES, "Timestamp", "save_time_us"),
        (ACTIONS, "timestamp", "action_time_us"),
        (ACTIONS, "event_type", "action_type"),
    ],
)
def test_names_are_understood(form: Form, given: str, name: str) -> None:
    """Aliases, capitals, spaces and hyphens."""
    column = form.column_named(given)

    assert column is not None
    assert column.name == name


def test_unknown_names_are_unknown() -> None:
    """Nothing is guessed, but a near miss is advised."""
    assert PINS.column_named("pinid") is None
    assert PINS.advice("pinid") == "did you mean pin_id?"
    assert SAVES.advice("usr_id") == "did you mean user_id?"
    assert PINS.advice("shoe size") == ""


def test_no_name_means_two_columns() -> None:
    """Within a form every name and alias is there once."""
    for form in FORMS.values():
        names = [name for column in form.columns for name in (column.name, *column.aliases)]

        assert len(names) == len(set(names))


def test_the_documentation_says_what_the_code_does() -> None:
    """Every column with every alias, and every action type, is in docs/data-format.md."""
    text = (ROOT / "docs" / "data-format.md").read_text()
    time_names = text.partition("Time names, for all three:")[2].partition("\n")[0]
    for form in FORMS.values():
        section = text.partition(f"### {form.name}\n")[2].partition("\n#")[0]
        for column in form.columns:
            (row,) = (
                line for line in section.splitlines() if line.startswith(f"| `{column.name}`")
            )
            for alias in column.aliases:
                assert f"`{alias}`" in row or f"`{alias}`" in time_names, (form.name, alias)
    for action_type in ACTION_TYPES:
        assert f"`{action_type}`" in text
