"""Results of finished stages: small typed summaries, stored in the run."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.schema import key

TEMPLATE_DATE = "The day that a chat template with a clock used; unset without such a template."
"""Description of ``template_date`` in all results."""


@dataclass(frozen=True)
class TrainResult:
    """Summary of a TRAIN stage."""

    steps: int = key(
        "Optimizer steps of the whole training, including those before a resumption.", minimum=0
    )
    first_loss: float = key("Mean response-token loss of the first logged step.", unit="nats")
    last_loss: float = key("Mean loss over the last epoch.", unit="nats")
    examples: int = key("Number of examples trained on.", minimum=0)
    held_out: int = key("Number of held-out prompts.", minimum=0)
    parameters: int = key(
        "Trained parameters: the model's, or the adapter's where there is one.", minimum=0
    )
    tokens: int = key("Number of tokens trained on, without padding.", unit="tokens", minimum=0)
    seconds: float = key("Wall time of this attempt's steps.", unit="seconds", minimum=0)
    resumed_from_step: int = key(
        "Step that this attempt continued from; 0 for a new training.", default=0
    )
    overlong: int = key(
        "Number of examples truncated or dropped because of their length.", default=0, minimum=0
    )
    model_digest: str = key("sha256 of model.safetensors.", default="")
    best_step: int | None = key(
        "Step with the lowest evaluation loss; unset without evaluations.", default=None, minimum=0
    )
    best_eval_loss: float | None = key(
        "The lowest evaluation loss; unset without evaluations.", unit="nats", default=None
    )
    stopped_early: bool = key(
        "True if training ended early because the evaluation loss no longer fell.",
        default=False,
    )
    template_date: str | None = key(TEMPLATE_DATE, default=None)


@dataclass(frozen=True)
class InferResult:
    """Summary of an INFER stage."""

    predictions: int = key("Number of predictions.", minimum=0)
    errors: int = key("Number of predictions with an error.", default=0, minimum=0)
    completion_tokens: int = key("Number of generated tokens.", unit="tokens", default=0, minimum=0)
    seconds: float = key("Wall time of generation.", unit="seconds", default=0.0, minimum=0)
    template_date: str | None = key(TEMPLATE_DATE, default=None)


@dataclass(frozen=True)
class PassAtK:
    """Probability that one of k samples passes (arXiv:2107.03374)."""

    k: int = key("Number of samples.", minimum=1)
    value: float = key("The probability.", minimum=0, maximum=1)


class GroupKey(enum.StrEnum):
    """Property by which items are grouped."""

    CATEGORY = "category"
    """The item's category."""
    DIFFICULTY = "difficulty"
    """The item's difficulty."""
    SECTION = "section"
    """The item's section."""


@dataclass(frozen=True)
class ScoreGroup:
    """A judge's score on one group of an eval set."""

    by: GroupKey = key("Property that the items share.")
    value: str = key("Value of the property, such as `geometry`.")
    passed: int = key("Number of verdicts `pass`.", minimum=0)
    total: int = key("Number of verdicts `pass` or `fail`.", minimum=0)
    errors: int = key("Number of verdicts `error`.", default=0, minimum=0)
    score: float | None = key("passed / total; unset when total is 0.", default=None)
    low: float | None = key("Lower end of the 95% Wilson interval.", default=None)
    high: float | None = key("Upper end of the 95% Wilson interval.", default=None)


@dataclass(frozen=True)
class JudgeScore:
    """One judge's score of one model on one eval set."""

    judge: str = key("The judge's name.")
    version: str = key("The judge's version.")
    eval_set: str = key("The eval set.")
    model_role: ModelRole = key("Role of the model that generated the predictions.")
    passed: int = key("Number of verdicts `pass`.", minimum=0)
    total: int = key("Number of verdicts `pass` or `fail`; errors are not counted.", minimum=0)
    errors: int = key("Number of verdicts `error`.", default=0, minimum=0)
    score: float | None = key("passed / total; unset when total is 0.", default=None)
    interval_low: float | None = key("Lower end of the 95% Wilson interval.", default=None)
    interval_high: float | None = key("Upper end of the 95% Wilson interval.", default=None)
    flexible_score: float | None = key(
        "Score if the last number or phrase counts as the answer; not part of `score`.",
        default=None,
    )
    marker_rate: float | None = key("Share of texts with an answer marker.", default=None)
    mean_score: float | None = key(
        "Mean of the verdicts' scores, errors left out; unset when total is 0.", default=None
    )
    mean_low: float | None = key(
        "Lower end of the 95% bootstrap interval of `mean_score`; unset unless some score is "
        "between 0 and 1.",
        default=None,
    )
    mean_high: float | None = key(
        "Upper end of the bootstrap interval of `mean_score`.", default=None
    )
    error_low: float | None = key(
        "Lower end of the interval of `score` if every error were `fail`.", default=None
    )
    error_high: float | None = key(
        "Upper end of the interval of `score` if every error were `pass`.", default=None
    )
    majority_score: float | None = key(
        "Share of items whose most frequent answer passes; unset with one sample.", default=None
    )
    pass_at_k: list[PassAtK] = key(
        "Probability that one of k samples passes, for each k; empty with one sample.",
        default=[],
    )
    groups: list[ScoreGroup] = key(
        "Scores of groups of items by category, difficulty and section.", default=[]
    )
    minimum_detectable_difference: float | None = key(
        "Smallest difference to another run on these items that a test detects in 80% of cases.",
        default=None,
    )
    leaked: int = key("Number of items whose prompt was trained on.", default=0, minimum=0)
    cost_tokens: int = key(
        "Tokens that a judging model read and wrote.", unit="tokens", default=0, minimum=0
    )


class ComparisonKind(enum.StrEnum):
    """Difference between two sets of predictions for the same items."""

    LIFT = "lift"
    """The trained model compared with the one it started from."""
    BASELINE = "baseline"
    """The trained model compared with that of another run."""


class PairedTest(enum.StrEnum):
    """Significance test of a difference on the same items."""

    MCNEMAR = "mcnemar"
    """McNemar's exact test, for verdicts that pass or fail."""
    PAIRED_BOOTSTRAP = "paired_bootstrap"
    """Paired bootstrap, for scores between 0 and 1."""


@dataclass(frozen=True)
class JudgeComparison:
    """One judge's comparison of two sets of predictions, item by item."""

    judge: str = key("The judge's name.")
    eval_set: str = key("The eval set.")
    kind: ComparisonKind = key("Kind of comparison.")
    wins: int = key("Number of items with a better prediction than the other's.", minimum=0)
    losses: int = key("Number of items with a worse prediction.", minimum=0)
    ties: int = key("Number of items with equally good predictions.", minimum=0)
    difference: float | None = key(
        "Mean difference of the scores, -1 to 1; unset without items.", default=None
    )
    low: float | None = key("Lower end of the 95% interval of `difference`.", default=None)
    high: float | None = key("Upper end of the 95% interval of `difference`.", default=None)
    p_value: float | None = key(
        "Two-sided probability of at least such a difference by chance; unset without items.",
        default=None,
    )
    test: PairedTest | None = key("Significance test that gave `p_value`.", default=None)


@dataclass(frozen=True)
class JudgeResult:
    """Summary of a JUDGE stage."""

    scores: list[JudgeScore] = key("One entry per judge, eval set and model.", default=[])
    comparisons: list[JudgeComparison] = key(
        "Comparisons with the untouched model or another run.", default=[]
    )
    template_date: str | None = key(TEMPLATE_DATE, default=None)
