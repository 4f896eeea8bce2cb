"""The batch jobs in their order; each is a module that runs as a process of its own.

A step runs when the steps before it are done, so steps that do not need each other can run at the
same time.  The order stands in `STEPS` and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Needs(StrEnum):
    """What a step cannot do without, as folders of the data root that hold Parquet files."""

    NOTHING = ""
    CATALOGUE = "pins or saves"
    SAVES = "saves"
    ACTIONS = "actions"


@dataclass(frozen=True, slots=True)
class Step:
    """One job.

    Attributes:
        name: What `--only` and `--from` call it.
        module: Run as `python -m module`.
        purpose: What it makes, in a few words.
        makes: The artifacts that it publishes.
        after: Steps whose results it reads.
        needs: What must have been imported; without, the step is skipped and says so.
    """

    name: str
    module: str
    purpose: str
    makes: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    needs: Needs = Needs.CATALOGUE


STEPS = (
    Step(
        name="export_actions",
        module="profile_service.jobs.export_actions",
        purpose="live actions into the action log",
        needs=Needs.NOTHING,
    ),
    Step(
        name="export_impressions",
        module="ranking_service.jobs.export_impressions",
        purpose="what was shown into the impression log",
        needs=Needs.NOTHING,
    ),
    Step(
        name="export_changes",
        module="candidate_service.jobs.export_changes",
        purpose="live pins and saves beside the imported ones",
        needs=Needs.NOTHING,
    ),
    Step(
        name="build_catalogue",
        module="candidate_service.jobs.build_catalogue",
        purpose="a row for every pin",
        makes=("catalogue", "save_index"),
        after=("export_changes",),
    ),
    Step(
        name="build_graph",
        module="candidate_service.jobs.build_graph",
        purpose="pins and boards as a graph",
        makes=("graph",),
        after=("build_catalogue",),
        needs=Needs.SAVES,
    ),
    Step(
        name="learn_vectors",
        module="candidate_service.jobs.learn_vectors",
        purpose="a vector for every pin",
        makes=("pin_vectors",),
        after=("build_catalogue",),
    ),
    Step(
        name="build_board_cooccurrence",
        module="candidate_service.jobs.build_board_cooccurrence",
        purpose="pins that share boards",
        makes=("board_cooccurrence",),
        after=("build_graph",),
        needs=Needs.SAVES,
    ),
    Step(
        name="build_duplicates",
        module="candidate_service.jobs.build_duplicates",
        purpose="pins with the same picture",
        makes=("duplicates",),
        after=("build_catalogue",),
    ),
    Step(
        name="build_vector_index",
        module="candidate_service.jobs.build_vector_index",
        purpose="nearest neighbours of vectors",
        makes=("vector_index",),
        after=("learn_vectors", "build_duplicates"),
    ),
    Step(
        name="train_pin2vec",
        module="candidate_service.jobs.train_pin2vec",
        purpose="pins saved close in time",
        makes=("pin2vec",),
        after=("export_actions", "build_catalogue"),
    ),
    Step(
        name="build_text_index",
        module="candidate_service.jobs.build_text_index",
        purpose="pins by their words",
        makes=("text_index",),
        after=("build_catalogue",),
    ),
    Step(
        name="build_content_vectors",
        module="candidate_service.jobs.build_content_vectors",
        purpose="imported vectors of texts and pictures",
        makes=("text_vectors", "visual_vectors"),
        after=("build_catalogue",),
    ),
    Step(
        name="build_popular",
        module="candidate_service.jobs.build_popular",
        purpose="what is popular, and counts",
        makes=("popular", "pin_statistics"),
        after=("export_actions", "build_catalogue"),
    ),
    Step(
        name="build_fresh",
        module="candidate_service.jobs.build_fresh",
        purpose="pins made lately",
        makes=("fresh",),
        after=("export_actions", "build_catalogue"),
    ),
    Step(
        name="rebuild_profiles",
        module="profile_service.jobs.rebuild_profiles",
        purpose="interests of every user",
        makes=("profiles",),
        after=("export_actions", "build_catalogue", "learn_vectors"),
        needs=Needs.ACTIONS,
    ),
    Step(
        name="build_audience",
        module="ranking_service.jobs.build_audience",
        purpose="whom each pin is for",
        makes=("audience",),
        after=("export_actions", "build_catalogue"),
        needs=Needs.ACTIONS,
    ),
    Step(
        name="build_memboost",
        module="ranking_service.jobs.build_memboost",
        purpose="what people did with what they were shown",
        makes=("memboost",),
        after=("export_actions", "export_impressions"),
        needs=Needs.ACTIONS,
    ),
    Step(
        name="build_experiments",
        module="ranking_service.jobs.build_experiments",
        purpose="what each arm of an experiment earned",
        makes=("experiments",),
        after=("export_actions", "export_impressions"),
        needs=Needs.ACTIONS,
    ),
)
STEP_NAMES = tuple(step.name for step in STEPS)


def choose_steps(*, only: Sequence[str] = (), first: str = "") -> tuple[Step, ...]:
    """Some of `STEPS`, in their order.

    Args:
        only: Steps, or artifacts that they make, to choose; () = all.
        first: Leave out what stands before this one; "" = nothing.

    Raises:
        ValueError: A name is no step and no artifact; the message lists the steps.
    """
    chosen = {step_of(name).name for name in only}
    start = STEPS.index(step_of(first)) if first else 0
    return tuple(step for step in STEPS[start:] if not only or step.name in chosen)


def step_of(name: str) -> Step:
    """The step that is called so or makes an artifact called so.

    Raises:
        ValueError: There is none; the message lists the steps.
    """
    for step in STEPS:
        if name in (step.name, *step.makes):
            return step
    raise ValueError(f"{name!r} is none of the steps {', '.join(STEP_NAMES)}")
