"""
Whom each pin is for: by how much more than expected each group of people acts on it.

Groups are languages, countries and segments.  What people told of themselves is read from
`events/users` (user_id, language, country, segment) where that is kept; of all others language and
country are those of most of the pins they acted on.
"""

# ruff: noqa: S608  queries are put together from our own names and numbers, never from data

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranking_service.catalogue import CATALOGUE, CATALOGUE_FORMATS, Catalogue
from ranking_service.config import RankingConfig
from ranking_service.examples import DEFAULT_STRENGTHS
from ranking_service.side_tables import AUDIENCE
from service_runtime.job import JobContext, run_job

NAME: Final = "build_audience"
AUDIENCE_FORMAT_VERSION: Final = 1
GROUP_COUNT_MAX: Final = 32
"""Largest groups that get a column, 4 bytes a pin each. Guess."""
SMOOTHING: Final = 5.0
"""Actions added to the seen and to the expected ones: a few say nothing yet. Guess."""

USER_SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in ("user_id", "language", "country", "segment")]
)
"""What is read of `events/users`; null or empty = not known."""
_ACTION_SCHEMA: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("pin_id", pa.string()),
        ("action_type", pa.string()),
        ("action_time_us", pa.int64()),
    ]
)


def run(context: JobContext[RankingConfig]) -> Mapping[str, Any]:
    """
    Count who acted on what before `--as-of`, and publish it as generation `audience`.

    Returns:
        Groups, pins with an audience, and the generation.
    """
    source = context.generations.open_latest_good(CATALOGUE, format_version=CATALOGUE_FORMATS)
    catalogue = Catalogue.open(source)
    _open_tables(context, catalogue)
    context.engine.sql(_GROUPS_SQL, name="groups")
    groups = context.engine.read("groups")
    names = groups["name"].to_pylist()
    totals = groups["action_count"].to_numpy().astype(np.float64)
    context.engine.sql(
        "SELECT a.pin_row AS pin_row, m.name AS name, count(*) AS action_count "
        "FROM acted AS a JOIN members AS m ON m.user_id = a.user_id "
        "JOIN groups AS g ON g.name = m.name GROUP BY a.pin_row, m.name",
        name="counted",
    )
    counted = context.engine.read("counted")
    lifts = audience_lifts(
        pins=counted["pin_row"].to_numpy().astype(np.int64),
        groups=np.array([names.index(name) for name in counted["name"].to_pylist()], np.int64),
        counts=counted["action_count"].to_numpy().astype(np.float64),
        kinds=[name.partition(":")[0] for name in names],
        totals=totals,
        pin_count=len(catalogue.pin_ids),
    )
    with context.generations.draft(AUDIENCE, format_version=AUDIENCE_FORMAT_VERSION) as draft:
        np.save(draft.path("lifts.npy"), lifts, allow_pickle=False)
        told = {"pin_count": len(lifts), "group_count": len(names)}
        generation = draft.publish(
            as_of_us=context.as_of_us,
            inputs={CATALOGUE: source.id},
            counts=told,
            details={"id_space": source.manifest.details["id_space"], "groups": names},
        )
    return {**told, "groups": names, "generation": generation.id}


def audience_lifts(
    *,
    pins: NDArray[np.int64],
    groups: NDArray[np.int64],
    counts: NDArray[np.float64],
    kinds: list[str],
    totals: NDArray[np.float64],
    pin_count: int,
) -> NDArray[np.float32]:
    """
    Log of actions over expected actions: float32[pin_count, len(kinds)].

    Expected is the share of the group among all groups of its kind, times the pin's actions by any
    of them.

    Args:
        pins: Pin of each count, int64[c].
        groups: Group of each, int64[c].
        counts: Actions, float64[c].
        kinds: Kind of each group.
        totals: Actions of each group on all pins, float64[g].
        pin_count: Pins.
    """
    seen = np.zeros((pin_count, len(kinds)))
    np.add.at(seen, (pins, groups), counts)
    lifts = np.zeros((pin_count, len(kinds)), np.float32)
    for kind in dict.fromkeys(kinds):
        own = np.array([other == kind for other in kinds])
        shares = totals[own] / max(float(totals[own].sum()), 1.0)
        expected = seen[:, own].sum(axis=1)[:, None] * shares
        lifts[:, own] = np.log((seen[:, own] + SMOOTHING) / (expected + SMOOTHING))
    return lifts


def _open_tables(context: JobContext[RankingConfig], catalogue: Catalogue) -> None:
    """Tables `acted` (who acted on which row) and `members` (who is in which group)."""
    engine, events = context.engine, context.data_root / "events"
    engine.table("action_files", events / "actions", schema=_ACTION_SCHEMA)
    engine.table("user_files", events / "users", schema=USER_SCHEMA)
    rows = np.arange(len(catalogue.pin_ids), dtype=np.int32)
    columns = {"pin_id": catalogue.pin_ids.ids(rows), "pin_row": rows}
    for name, column in (("language", catalogue.languages), ("country", catalogue.countries)):
        words = np.array([*column.code_by_word, ""], object)
        columns[name] = words[column.codes].tolist()
    engine.register("pins", pa.table(columns))
    kinds = ", ".join(f"'{kind}'" for kind in DEFAULT_STRENGTHS)
    engine.sql(
        "SELECT a.user_id AS user_id, p.pin_row AS pin_row, p.language AS language, "
        "p.country AS country FROM action_files AS a JOIN pins AS p ON p.pin_id = a.pin_id "
        f"WHERE a.action_time_us < {context.as_of_us} AND a.action_type IN ({kinds})",
        name="acted",
    )
    members = []
    for kind in ("language", "country"):
        engine.sql(
            f"SELECT user_id, {kind} FROM (SELECT user_id, {kind}, row_number() OVER ("
            f"PARTITION BY user_id ORDER BY count(*) DESC, {kind}) AS place FROM acted "
            f"WHERE {kind} <> '' GROUP BY user_id, {kind}) AS numbered WHERE place = 1",
            name=f"most_{kind}",
        )
        told = f"SELECT user_id, {kind} FROM user_files WHERE {kind} <> ''"
        members += [
            f"SELECT user_id, concat('{kind}:', {kind}) AS name FROM ({told}) AS told_{kind}",
            (
                f"SELECT m.user_id AS user_id, concat('{kind}:', m.{kind}) AS name "
                f"FROM most_{kind} AS m LEFT JOIN ({told}) AS t ON t.user_id = m.user_id "
                "WHERE t.user_id IS NULL"
            ),
        ]
    members.append(
        "SELECT user_id, concat('segment:', segment) AS name FROM user_files WHERE segment <> ''"
    )
    engine.sql(" UNION ALL ".join(members), name="members")


_GROUPS_SQL: Final = (
    "SELECT m.name AS name, count(*) AS action_count FROM acted AS a "
    "JOIN members AS m ON m.user_id = a.user_id GROUP BY m.name "
    f"ORDER BY action_count DESC, name LIMIT {GROUP_COUNT_MAX}"
)


if __name__ == "__main__":
    run_job(NAME, run, RankingConfig)
