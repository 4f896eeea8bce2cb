"""Settings of stacks whose parts are hurt: patient, so that a busy machine is no fault."""

from corkboard.stack import SERVICES

PATIENT = {
    "profile_service": [],
    "candidate_service": ["retrieval_deadline_ms=8000"],
    "ranking_service": [
        "deadline_seconds=20",
        "profile_budget_ms=4000",
        "candidate_budget_ms=9000",
        "own_reserve_ms=100",
    ],
}


def patient(**more: list[str]) -> dict[str, list[str]]:
    """The patient settings, and more of each service."""
    return {service: [*PATIENT[service], *more.get(service, [])] for service in SERVICES}
