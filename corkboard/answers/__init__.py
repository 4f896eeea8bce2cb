"""What the client gives back: small frozen values that print well, free of gRPC.

Times are aware datetimes in UTC, ages timedeltas.  A title is "" where the catalogue has none or
could not be asked; everything that shows a pin then falls back to its id (`RecommendedPin.name`).
"""

from corkboard.answers.catalogue import (
    BoardAnswer,
    CandidateAnswer,
    Catalogue,
    FoundPin,
    Pin,
    QueriedPin,
    RecommendedBoard,
    SearchAnswer,
    Source,
    SourceList,
    WrittenItem,
)
from corkboard.answers.profiles import (
    Action,
    Cluster,
    ErasureCheck,
    ErasureReceipt,
    MergedUsers,
    Profile,
    RecordedAction,
    StoreErasure,
)
from corkboard.answers.recommendations import (
    Degradation,
    Model,
    RankedPins,
    Recommendations,
    RecommendedPin,
    SourceReason,
)
from corkboard.answers.remembered import (
    AppliedRule,
    ArmResult,
    Contribution,
    Estimate,
    Experiment,
    Explanation,
    Memboost,
    MemboostCounter,
    MemboostReset,
    MemboostScore,
    PinExplanation,
)

__all__ = [
    "Action",
    "AppliedRule",
    "ArmResult",
    "BoardAnswer",
    "CandidateAnswer",
    "Catalogue",
    "Cluster",
    "Contribution",
    "Degradation",
    "ErasureCheck",
    "ErasureReceipt",
    "Estimate",
    "Experiment",
    "Explanation",
    "FoundPin",
    "Memboost",
    "MemboostCounter",
    "MemboostReset",
    "MemboostScore",
    "MergedUsers",
    "Model",
    "Pin",
    "PinExplanation",
    "Profile",
    "QueriedPin",
    "RankedPins",
    "Recommendations",
    "RecommendedBoard",
    "RecommendedPin",
    "RecordedAction",
    "SearchAnswer",
    "Source",
    "SourceList",
    "SourceReason",
    "StoreErasure",
    "WrittenItem",
]
