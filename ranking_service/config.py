"""Every setting of ranking_service and of its jobs."""

from pathlib import Path

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from ranking_service.plan import MARGINAL, DiversityMethod
from service_runtime.config import ServiceConfig


class RankingConfig(ServiceConfig):
    """Settings of the service and of the jobs that train what it serves."""

    model_config = SettingsConfigDict(env_prefix="RANKING_SERVICE_", frozen=True, extra="forbid")

    port: int = Field(50053, ge=0, le=65535, description="TCP port to listen on; 0 = any free one.")
    metrics_port: int = Field(
        9103, ge=0, le=65535, description="TCP port of the Prometheus page; 0 = no page."
    )

    # The other services.
    profile_target: str = Field(
        "127.0.0.1:50051", min_length=1, description="Address of profile_service, host:port."
    )
    candidate_target: str = Field(
        "127.0.0.1:50052", min_length=1, description="Address of candidate_service, host:port."
    )
    profile_budget_ms: float = Field(
        150.0,
        gt=0,
        le=60_000,
        description="Most time for the profile; without it the answer is marked degraded. Guess.",
    )
    candidate_budget_ms: float = Field(
        500.0,
        gt=0,
        le=60_000,
        description="Most time for the candidates; above candidate_service's own limit. Guess.",
    )
    showable_budget_ms: float = Field(
        50.0,
        gt=0,
        le=60_000,
        description="Most time to ask whether remembered and promoted pins may be shown. Guess.",
    )
    erasure_budget_ms: float = Field(
        5000.0,
        gt=0,
        le=60_000,
        description="Most time for each other service to forget a user. Guess.",
    )
    own_reserve_ms: float = Field(
        25.0,
        ge=0,
        le=10_000,
        description="Part of the caller's time that is kept for ranking itself; measured: 2.",
    )
    upstream_attempts_max: int = Field(
        3, ge=1, le=5, description="Tries of a call to a service that is UNAVAILABLE."
    )

    # A request.
    limit_default: int = Field(25, ge=1, le=500, description="Pins in an answer without a limit.")
    limit_max: int = Field(500, ge=1, le=500, description="Ceiling of a request's limit.")
    batch_count_max: int = Field(
        0,
        ge=0,
        le=1024,
        description="Batches of requests answered at once, each by one worker; more are refused. "
        "0 = all workers but one, though at least one.",
    )
    pool_size_max: int = Field(
        500,
        ge=1,
        le=10_000,
        description="Candidates that get features and a score (Related Pins: about 500).",
    )
    medoid_sample_count: int = Field(
        3, ge=1, le=50, description="Medoids to ask candidates for (e; PinnerSage: 3)."
    )
    recent_interest_count_max: int = Field(
        2,
        ge=0,
        le=20,
        description="Pins of the newest actions asked for beside sampled interests. Guess.",
    )
    recent_action_count_max: int = Field(
        100, ge=0, le=100, description="Newest actions asked of a profile: session and features."
    )
    recent_interest_hours: float = Field(
        24.0, ge=0, le=8760, description="How long an interest counts as new. Guess."
    )
    acted_pin_count_max: int = Field(
        10_000, ge=0, le=10_000, description="Pins a user acted on that are kept out of an answer."
    )
    remembered_answer_count_max: int = Field(
        1000,
        ge=0,
        le=1_000_000,
        description="Candidate lists kept for when candidate_service is away, 20 KB each. Guess.",
    )

    # Impressions.
    impression_log_name: str = Field(
        "main",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="Folder below live/impressions; each process on one machine needs its own.",
    )
    impression_queue_count_max: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="Answers that may wait to be logged; more are dropped and counted. Guess.",
    )

    confirmed_list_count_max: int = Field(
        100_000,
        ge=1,
        le=100_000_000,
        description="Confirmed lists kept in mind so that a pin is recorded once, 2 KB each.",
    )

    # Rules; a scenario file may say otherwise for a place in the product.
    scenario_file: Path | None = Field(
        None, description="TOML file of scenarios, rules, promotions and experiments."
    )
    diversity: float = Field(
        0.0, ge=0, le=1, description="How unlike each other pins should be; 0 = by score alone."
    )
    diversity_method: DiversityMethod = Field(
        MARGINAL,
        description="marginal: unlike the most alike pin before; determinantal: unlike all before.",
    )
    rotation_rate: float = Field(
        0.0, ge=0, le=1, description="How much pins shown lately are held back; 0 = not at all."
    )
    rotation_seconds: float = Field(
        7200.0, ge=0, le=2_592_000, description="How long lately is; Recombee's default."
    )
    rotation_user_count_max: int = Field(
        100_000,
        ge=0,
        le=10_000_000,
        description="Users whose last 5,000 shown pins are kept for it, a file of 160 KB at most "
        "each; 0 = none. Guess.",
    )
    rotation_keep_seconds: float = Field(
        86_400.0,
        ge=0,
        le=2_592_000,
        description="How long somebody who is shown nothing is kept for it; above any scenario's "
        "own time. Guess.",
    )
    owner_pin_count_max: int = Field(
        10, ge=0, le=500, description="Pins of one owner in an answer; 0 = no cap. Guess."
    )
    random_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of requests whose order is random, to learn from. Related Pins: ~1 %.",
    )
    page_seconds: float = Field(
        1800.0,
        gt=0,
        le=86_400,
        description="How long a page token, and a page's memory of its lists, are good.",
    )

    # Memboost.
    memboost_weights: tuple[float, float, float, float] = Field(
        (0.3, 0.6, 0.3, 1.0),
        description="Weight of a click, long click, close-up, save: the contract's strengths.",
    )
    memboost_smoothing: float = Field(
        1.0,
        gt=0,
        le=1e6,
        description="a of the score, in weighted actions: how much it takes to move it. Guess.",
    )
    memboost_gain: float = Field(
        0.3,
        ge=0,
        le=100,
        description="g for models that bring none of their own: what a score of 1 adds. Guess.",
    )
    memboost_window_hours: float = Field(
        24.0, gt=0, le=8760, description="How long after an impression an action counts. Guess."
    )
    memboost_days: int = Field(
        365, ge=1, le=3650, description="How far back the nightly count reaches. Guess."
    )
    memboost_curve_smoothing: float = Field(
        200.0,
        gt=0,
        le=1e9,
        description="Impressions by which a place's rate is drawn to the mean of places. Guess.",
    )
    memboost_random_count_min: int = Field(
        10_000,
        ge=1,
        le=1_000_000_000,
        description="Random impressions of a surface that suffice for its rank curves. Guess.",
    )
    memboost_insert_count_max: int = Field(
        5, ge=0, le=100, description="Remembered winners that are put back into a pool. Guess."
    )
    memboost_insert_score_min: float = Field(
        0.7, ge=0, le=100, description="Score of a winner; 0.7 = twice what is expected. Guess."
    )
    memboost_insert_impression_count_min: int = Field(
        20, ge=1, le=1_000_000, description="Times that a winner was shown at the least. Guess."
    )
    memboost_refresh_seconds: float = Field(
        5.0, gt=0, le=3600, description="How often the live counters are made anew. Guess."
    )
    memboost_user_count_max: int = Field(
        100_000,
        ge=1,
        le=100_000_000,
        description="Users of whom the newest counted action is kept in mind, 150 B each.",
    )

    # Training.
    label_horizon_days: float = Field(
        7.0, gt=0, le=365, description="How long after an impression an action counts. Guess."
    )
    label_strength_min: float = Field(
        0.3, gt=0, le=1, description="Least strength of an action that makes a positive example."
    )
    validation_share: float = Field(
        0.2, gt=0, lt=1, description="Share of the impressions, the newest, that judge a model."
    )
    tree_count_max: int = Field(
        300, ge=1, le=5000, description="Most trees; early stopping finds how many. Literature."
    )
    leaf_count_max: int = Field(
        31, ge=2, le=64, description="Leaves of a tree; above 32 scoring takes twice the time."
    )
    learning_rate: float = Field(
        0.02,
        gt=0,
        le=1,
        description="Shrinkage of each tree; on replayed MovieLens better than 0.05.",
    )
    leaf_row_count_min: int = Field(
        200,
        ge=1,
        le=1_000_000,
        description="Examples in a leaf at the least; better than 50 there. Small sets: a 20th.",
    )

    positive_weight: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="Weight of a positive; 0 = 1 at 10 % positives or more, else up to 20 %.",
    )
    objective_weights: dict[str, float] = Field(
        default_factory=dict,
        description="Worth of save, click, long_click, hide in a score; empty = saves alone.",
    )
    shadow_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of answers that a staged model ranks too, behind the answer. Guess.",
    )
    shadow_queue_count_max: int = Field(
        32,
        ge=1,
        le=10_000,
        description="Answers that may wait for the staged model, 0.5 MB each; more are left out.",
    )
    features_left_out: tuple[str, ...] = Field(
        (), description="Families or features that are 0 in serving: an emergency switch."
    )
    skew_alarm: float = Field(
        0.001,
        ge=0,
        le=1,
        description="Share of logged feature values that may differ from recomputed ones. Guess.",
    )
    skew_check_share: float = Field(
        0.01, ge=0, le=1, description="Share of answers whose features are recomputed. Guess."
    )

    def batches(self) -> int:
        """Batches of requests answered at once, >= 1."""
        return self.batch_count_max or max(1, self.workers() - 1)

    @model_validator(mode="after")
    def _limit_below_its_maximum(self) -> "RankingConfig":
        if self.limit_default > self.limit_max:
            raise ValueError(
                f"limit_default ({self.limit_default}) must not be above "
                f"limit_max ({self.limit_max})"
            )
        return self

    @model_validator(mode="after")
    def _budgets_below_the_deadline(self) -> "RankingConfig":
        spent_ms = self.profile_budget_ms + self.candidate_budget_ms + self.own_reserve_ms
        if spent_ms > self.deadline_seconds * 1e3:
            raise ValueError(
                f"profile_budget_ms + candidate_budget_ms + own_reserve_ms ({spent_ms:g}) must not "
                f"be above deadline_seconds ({self.deadline_seconds:g})"
            )
        return self
