"""Nothing behind a shown list may be younger than the list: such logs train nothing."""

from service_runtime.batch.engine import BatchEngine
from service_runtime.job import JobFailed


class LeakDetected(JobFailed):
    """Some rows know what nobody could know when their list was shown; nothing was trained."""

    HINT = (
        "replay with artifacts built --as-of the time of the replay, and look for clocks that are "
        "ahead of each other"
    )


def refuse_leaks(engine: BatchEngine) -> None:
    """
    Check that nothing behind a shown list is younger than the list.

    Raises:
        LeakDetected: If the data of a generation or a feature is later than the impression, or an
            action that names a list is earlier than the list.
    """
    checks = {
        "a generation knows what came after the list was shown": (
            "SELECT list_id, impression_time_us, generations_as_of_us AS other_time_us "
            "FROM shown WHERE generations_as_of_us > impression_time_us"
        ),
        "features were computed after the list was shown": (
            "SELECT list_id, impression_time_us, feature_time_us AS other_time_us "
            "FROM shown WHERE feature_time_us > impression_time_us"
        ),
        "an action on a list is earlier than the list": (
            "SELECT s.list_id, s.impression_time_us, a.action_time_us AS other_time_us "
            "FROM shown AS s JOIN acted AS a ON a.list_id = s.list_id AND a.pin_id = s.pin_id "
            "AND a.user_id = s.user_id WHERE a.action_time_us < s.impression_time_us"
        ),
    }
    for claim, query in checks.items():
        engine.sql(query, name="leaks")
        if count := engine.count("leaks"):
            first = engine.read("leaks").slice(0, 1).to_pylist()[0]
            raise LeakDetected(
                f"{claim}: {count} rows, the first one in list {first['list_id']}: shown at "
                f"{first['impression_time_us']}, other time {first['other_time_us']}",
                report={"leaks": count},
            )
