"""What people did to pins, actions and saves as one table for the batch engine."""

from __future__ import annotations

import pyarrow as pa

from candidate_service.action_types import STRENGTHS
from service_runtime.batch import BatchEngine


def open_facts(engine: BatchEngine) -> None:
    """Name `facts`: every action and every save once, from `actions` and `saves`.

    Columns: owner (`user:` or, for a save without a user, `board:` and an id), pin_id, action_type,
    time_us (null where a save's is not known), strength in [0, 1]. A save that its user's action
    log has as well is told there only.
    """
    engine.register(
        "strengths",
        pa.table({"action_type": list(STRENGTHS), "default_strength": list(STRENGTHS.values())}),
    )
    engine.sql(
        "select distinct user_id, pin_id from actions where action_type = 'save'",
        name="logged_saves",
    )
    engine.sql(
        "select 'user:' || actions.user_id as owner, actions.pin_id as pin_id, "
        "actions.action_type as action_type, action_time_us as time_us, "
        "cast(coalesce(strength, default_strength) as double) as strength "
        "from actions join strengths on actions.action_type = strengths.action_type "
        "union all "
        "select case when coalesce(saves.user_id, '') = '' then 'board:' || saves.board_id "
        "else 'user:' || saves.user_id end as owner, saves.pin_id as pin_id, "
        "'save' as action_type, save_time_us as time_us, cast(1.0 as double) as strength "
        "from saves left join logged_saves logged "
        "on saves.user_id = logged.user_id and saves.pin_id = logged.pin_id "
        "where logged.pin_id is null or save_time_us is null",
        name="facts",
    )


def newest_fact_us(engine: BatchEngine) -> int | None:
    """Return the time of the newest fact, None if no fact has a time."""
    engine.sql("select max(time_us) as time_us from facts", name="newest_fact")
    newest = engine.read("newest_fact").column("time_us")[0].as_py()
    return None if newest is None else int(newest)
