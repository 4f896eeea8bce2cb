"""What stands in fuzzed requests: things of the tiny world, and things that may be destroyed."""

from pathlib import Path
from typing import Final

from datasets import tiny
from tests.fault.messages import Grower
from tests.fault.stacks import patient
from tests.integration.world import AS_OF

PINS: Final = tuple(
    f"{interest}-{number}" for interest, titles in tiny.PINS.items() for number in range(1, 11)
)
USERS: Final = (*tiny.BOARDS, "nobody")
BOARDS: Final = tuple(f"{user}-{name}" for user, boards in tiny.BOARDS.items() for name in boards)
SPARE_PINS: Final = (*(f"spare-{number}" for number in range(200)), *PINS[::12])
"""Pins that may be changed and deleted: a world without pins would be no test of answers."""
SPARE_USERS: Final = tuple(f"visitor-{number}" for number in range(100))
SAVES: Final = tuple(f"save-{number}" for number in range(500))
FILTERS: Final = (
    "", 'language = "en"', 'topics : "pottery" OR topics : "hiking"', "age_days <= 400",
    'NOT title : "soup" AND KNOWN(language)', 'language IN ("en", "ja")', "quality > 0.5",
)  # fmt: skip
WORDS: Final = {
    **dict.fromkeys(
        ("pin_id", "pin_ids", "query_pin_id", "result_pin_id", "medoid_pin_id", "excluded_pin_ids",
         "session_pin_ids", "declared_pin_ids"),
        (*PINS, *PINS, *SPARE_PINS[:10], "unknown-pin"),
    ),
    **dict.fromkeys(("user_id", "user_ids"), USERS),
    **dict.fromkeys(("owner_id", "excluded_owner_ids"), ("", "ana", "owner-1", "owner-2")),
    **dict.fromkeys(("board_id", "excluded_board_ids"), ("", *BOARDS)),
    **dict.fromkeys(("query", "query_text", "queries"), ("soup", "wood type", "ねこ", "a")),
    **dict.fromkeys(("expression", "filter"), FILTERS),
    **dict.fromkeys(("name", "filter_name"), ("", "english", "unknown")),
    "source": ("ann", "pixie", "popular", "fresh", "board_cooccurrence", "text_search", "pin2vec"),
    "scenario": ("home_feed", "related_pins", "shelf", "unknown"),
    "experiment": ("walks", "unknown"),
    "page_token": ("",),
    "action_type": ("", "save", "click", "hide", "unknown"),
    "action_id": tuple(f"action-{number}" for number in range(2000)),
    "list_id": tuple(f"list-{number}" for number in range(500)),
    "page_id": ("", "page-1", "page-2"),
    "platform": ("", "ios", "web"),
    "language": ("", "en", "ja", "pt-BR"),
    "country": ("", "JP", "NL"),
    "segment": ("", "a"),
    "topics": ("cooking", "hiking", "a new topic"),
    "title": ("A title", "Ünicode 寿司", ""),
    "paths": ("title", "topics", "language", "attributes", "is_hidden", "quality"),
    "save_id": SAVES,
    "save_ids": SAVES,
    "corkboard.profile.v1.Action.user_id": (*SPARE_USERS, *USERS),
    "corkboard.profile.v1.UpdateUserRequest.user_id": SPARE_USERS,
    "corkboard.profile.v1.DeclareInterestsRequest.user_id": SPARE_USERS,
    "corkboard.profile.v1.MergeUsersRequest.source_user_id": SPARE_USERS,
    "corkboard.profile.v1.MergeUsersRequest.target_user_id": SPARE_USERS,
    "corkboard.profile.v1.EraseUserRequest.user_id": SPARE_USERS,
    "corkboard.candidate.v1.EraseUserRequest.user_id": SPARE_USERS,
    "corkboard.ranking.v1.EraseUserRequest.user_id": SPARE_USERS,
    "corkboard.candidate.v1.PinRecord.pin_id": SPARE_PINS,
    "corkboard.candidate.v1.DeletePinsRequest.pin_ids": SPARE_PINS,
    "corkboard.candidate.v1.SaveRecord.user_id": SPARE_USERS,
    "corkboard.candidate.v1.SaveRecord.board_id": ("", *(f"shelf-{n}" for n in range(50))),
}  # fmt: skip
PAIRS: Final = {
    "filter_parameters": ({}, {"most": "5"}),
    "parameters": ({}, {"most": "5"}),
    "experiment_arms": ({}, {"walks": "many"}, {"walks": "as_now"}, {"walks": "unknown"}),
    "attributes": ({}, {"price": "5"}, {"brand": "Acme", "price": "cheap"}),
}
SHARES: Final = {
    **dict.fromkeys(("filter_parameters", "parameters", "filter_name", "name"), 0.05),
    **dict.fromkeys(("vector", "text_vector", "visual_vector", "image_bytes", "text"), 0.04),
    "experiment_arms": 0.1,
    "scenario": 0.15,
    "is_local_only": 0.05,
    "surface": 0.5,
    "user_id": 0.9,
    "query_pin_id": 0.5,
    "query_pins": 0.9,
    "query": 0.9,
}
"""How often what mostly leads to a refusal is given, and what leads to more."""
SCENARIOS: Final = """
[scenarios.shelf]
diversity = 0.3
rotation_rate = 0.5
rotation_seconds = 600
owner_pin_count_max = 3
rules = ["pots"]
promotions = ["spring"]
[rules.pots]
boost = 0.5
when = { topics = ["pottery"] }
[promotions.spring]
share = 0.2
pin_ids = ["pottery-1", "hiking-2"]
[experiments.walks]
control = "as_now"
shares = { as_now = 0.5, many = 0.5 }
[experiments.walks.arms.as_now]
[experiments.walks.arms.many]
sources = { pixie = 80, popular = 20 }
"""


def make_grower() -> Grower:
    """Makes requests about the tiny world."""
    return Grower(WORDS, pairs=PAIRS, shares=SHARES, now=AS_OF.timestamp())


def settings(folder: Path) -> dict[str, list[str]]:
    """Settings of the services under which requests reach most of the code."""
    scenarios = folder / "scenarios.toml"
    scenarios.write_text(SCENARIOS)
    busy = ["queue_seconds_max=30"]
    return patient(
        profile_service=busy,
        candidate_service=[*busy, 'filters={"english": "language = \\"en\\""}'],
        ranking_service=[*busy, "batch_count_max=64", f"scenario_file={scenarios}"],
    )
