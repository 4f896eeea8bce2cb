"""From what users are, over what people like them do, to the features that rank: the chain."""

import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from corkboard import Client
from corkboard.answers import Action
from corkboard.pipeline import Order, Outcome, choose_steps, run_steps
from ranking_service.features import FEATURE_NAMES
from service_runtime.generation_store import GenerationStore
from tests.integration.world import AS_OF, build, copy_of_root, make_stack

GROUPS = {
    "women": ("cooking", "ja", "JP"),
    "men": ("hiking", "nl", "NL"),
}
"""Segment, what its people save, and their language and country."""
PEOPLE = 12


def save_as_groups_do(client: Client) -> None:
    """Twelve people of each segment save the first three pins of their interest."""
    for segment, (interest, language, country) in GROUPS.items():
        for person in range(PEOPLE):
            user_id = f"{segment}-{person}"
            client.update_user(user_id, language=language, country=country, segment=segment)
            client.record_all(
                Action(
                    user_id=user_id,
                    pin_id=f"{interest}-{number}",
                    action_type="save",
                    action_id=f"{user_id}-{number}",
                    action_time=AS_OF - timedelta(hours=1),
                )
                for number in (1, 2, 3)
            )
        client.update_user(f"new-{segment}", language=language, country=country, segment=segment)


def wait_for(client: Client, generation: str) -> None:
    """Until the answers to somebody else are made with this generation of the audience."""
    end = time.monotonic() + 30
    while client.recommend("watcher", limit=1).generations.get("audience") != generation:
        assert time.monotonic() < end
        time.sleep(0.1)


def shown_features(root: Path, user_id: str) -> dict[str, dict[str, float]]:
    """Logged features of every pin that was shown to somebody, by pin and name."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted((root / "events" / "impressions").rglob("*.parquet")):
        for row in pq.read_table(path, partitioning=None).to_pylist():
            if row["user_id"] == user_id:
                values = np.array(row["features"], np.float32).tolist()
                found[row["pin_id"]] = dict(zip(FEATURE_NAMES, values, strict=True))
    return found


def test_people_are_ranked_by_what_people_like_them_save(tmp_path: Path) -> None:
    """
    Attributes told to profile_service reach the audience statistics and the logged features.

    Newcomers of either segment, who did nothing yet, are shown cooking and hiking pins: what their
    own gender, country and language saves has a lift above 0, what the others save one below.
    """
    root = copy_of_root(tmp_path)
    with make_stack(root) as stack, stack.client() as client:
        save_as_groups_do(client)
        build(root, "export_actions", "build_audience")
        audience = GenerationStore(root / "generations").current("audience")
        assert audience is not None
        wait_for(client, audience.id)
        answers = {
            segment: client.recommend(f"new-{segment}", limit=60, seed=1) for segment in GROUPS
        }
    # The clock of the services stands still at AS_OF; the job takes what was shown before its own.
    later = Order(root, (AS_OF + timedelta(minutes=1)).timestamp())
    (exported,) = run_steps(choose_steps(only=["export_impressions"]), later)
    assert exported.outcome is Outcome.DONE

    for segment, (own, _, _) in GROUPS.items():
        (other,) = (interest for name, (interest, _, _) in GROUPS.items() if name != segment)
        rows = shown_features(root, f"new-{segment}")
        assert set(rows) == set(answers[segment].pin_ids)
        for group in ("segment", "language", "country"):
            name = f"audience_{group}"
            assert min(rows[f"{own}-{number}"][name] for number in (1, 2, 3)) > 0.2, name
            assert max(rows[f"{other}-{number}"][name] for number in (1, 2, 3)) < -0.2, name
