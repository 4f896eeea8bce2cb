"""A list of user-pin pairs, nothing else, is enough to get recommendations."""

from pathlib import Path

from corkboard.importing import import_folder
from corkboard.pipeline import STEPS, Order, Outcome, run_steps
from corkboard.stack import Stack

PAIRS = """user,item
a,lamp
a,chair
b,lamp
b,chair
b,table
c,chair
c,table
d,lamp
e,spade
e,rake
f,spade
f,rake
f,hose
g,spade
"""
LATER = 60.0


def test_pairs_in_a_csv_file_lead_to_personal_answers(tmp_path: Path) -> None:
    """Without times, boards, titles or vectors: d sees furniture, g tools, a stranger all six."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "saves.csv").write_text(PAIRS)
    report = import_folder(tmp_path / "mine", tmp_path / "root")
    as_of = report.import_time_us / 1e6 + LATER

    results = run_steps(STEPS, Order(tmp_path / "root", as_of))

    assert {result.outcome for result in results} == {Outcome.DONE}, results
    with (
        Stack(data_root=tmp_path / "root", fixed_time=as_of) as stack,
        stack.client() as client,
    ):
        furniture, tools = client.recommend("d", limit=2), client.recommend("g", limit=2)
        related = client.related("spade", limit=1)
        stranger = client.recommend("z")
    assert set(furniture.pin_ids) <= {"chair", "table"}
    assert {pin.because_pin_id for pin in furniture.pins} == {"lamp"}
    assert set(tools.pin_ids) <= {"rake", "hose"}
    assert related.pin_ids == ("rake",)
    assert stranger.is_cold_start
    assert len(stranger.pins) == 6
