"""Results of finished stages: small typed summaries, stored in the run."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.schema import key

TEMPLATE_DATE = "The day that a chat template with a clock read; unset where none asked for it."
"""Description of ``template_date`` in all results."""


@dataclass(frozen=True)
class TrainResult:
    """Summary of a TRAIN stage."""

    steps: int = key("Optimizer steps of the whole training, resumed ones included.", minimum=0)
    first_loss: float = key("Mean response-token loss of the first logged step.", unit="nats")
    last_loss: float = key("Mean loss over the last epoch.", unit="nats")
    examples: int = key("Examples trained on.", minimum=0)
    held_out: int = key("Prompts held out.", minimum=0)
    parameters: int = key(
        "Trained parameters: the model's, or the adapter's where there is one.", minimum=0
    )
    tokens: int = key("Non-padding tokens seen.", unit="tokens", minimum=0)
    seconds: float = key("Wall time of this attempt's steps.", unit="seconds", minimum=0)
    resumed_from_step: int = key("Step this attempt continued from; 0 if fresh.", default=0)
    overlong: int = key("Examples truncated or dropped for their length.", default=0, minimum=0)
    model_digest: str = key("sha256 of model.safetensors.", default="")
    best_step: int | None = key(
        "Step with the lowest evaluation loss; unset without evaluations.", default=None, minimum=0
    )
    best_eval_loss: float | None = key(
        "The lowest evaluation loss; unset without evaluations.", unit="nats", default=None
    )
    stopped_early: bool = key(
        "Whether training ended before its last step because the evaluation loss no longer fell.",
        default=False,
    )
    template_date: str | None = key(TEMPLATE_DATE, default=None)


@dataclass(frozen=True)
class InferResult:
    """Summary of an INFER stage."""

    predictions: int = key("Predictions written.", minimum=0)
    errors: int = key("Predictions that carry an error.", default=0, minimum=0)
    completion_tokens: int = key("Generated tokens.", unit="tokens", default=0, minimum=0)
    seconds: float = key("Wall time of generation.", unit="seconds", default=0.0, minimum=0)
    template_date: str | None = key(TEMPLATE_DATE, default=None)


@dataclass(frozen=True)
class PassAtK:
    """Probability that one of k samples passes (arXiv:2107.03374)."""

    k: int = key("Number of samples.", minimum=1)
    value: float = key("The chance.", minimum=0, maximum=1)


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

    by: GroupKey = key("What the items share.")
    value: str = key("Its value, such as `geometry`.")
    passed: int = key("Verdicts that pass.", minimum=0)
    total: int = key("Verdicts that pass or fail.", minimum=0)
    errors: int = key("Verdicts that are errors.", default=0, minimum=0)
    score: float | None = key("passed / total; unset when total is 0.", default=None)
    low: float | None = key("Lower end of the 95% Wilson interval.", default=None)
    high: float | None = key("Upper end of the 95% Wilson interval.", default=None)


@dataclass(frozen=True)
class JudgeScore:
    """One judge's score of one model on one eval set."""

    judge: str = key("The judge's name.")
    version: str = key("The judge's version.")
    eval_set: str = key("The eval set.")
    model_role: ModelRole = key("Which model answered.")
    passed: int = key("Verdicts that pass.", minimum=0)
    total: int = key("Verdicts that pass or fail; errors are not in it.", minimum=0)
    errors: int = key("Verdicts that are errors.", default=0, minimum=0)
    score: float | None = key("passed / total; unset when total is 0.", default=None)
    interval_low: float | None = key("Lower end of the 95% Wilson interval.", default=None)
    interval_high: float | None = key("Upper end of the 95% Wilson interval.", default=None)
    flexible_score: float | None = key(
        "Score when the last number or phrase counts as the answer; never mixed into `score`.",
        default=None,
    )
    marker_rate: float | None = key("Share of texts with an answer marker.", default=None)
    mean_score: float | None = key(
        "Mean of the verdicts' scores, errors left out; unset when total is 0.", default=None
    )
    mean_low: float | None = key(
        "Lower end of its 95% bootstrap interval; unset where no score lies between 0 and 1.",
        default=None,
    )
    mean_high: float | None = key("Upper end of that interval.", default=None)
    error_low: float | None = key(
        "Lower end of `score`'s interval if every error were a fail.", default=None
    )
    error_high: float | None = key(
        "Upper end of `score`'s interval if every error were a pass.", default=None
    )
    majority_score: float | None = key(
        "Share of items whose most frequent answer passes; unset with one sample.", default=None
    )
    pass_at_k: list[PassAtK] = key(
        "Chance that one of k samples passes, up to the number of samples; empty with one.",
        default=[],
    )
    groups: list[ScoreGroup] = key(
        "The score's parts by category, difficulty and section.", default=[]
    )
    minimum_detectable_difference: float | None = key(
        "Smallest difference to another run on these items that a test would find in 80% of cases.",
        default=None,
    )
    leaked: int = key("Items whose prompt was trained on.", default=0, minimum=0)
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
    kind: ComparisonKind = key("What is compared.")
    wins: int = key("Items on which the answer is better than the other.", minimum=0)
    losses: int = key("Items on which it is worse.", minimum=0)
    ties: int = key("Items on which neither is better.", minimum=0)
    difference: float | None = key(
        "Mean difference of the scores, -1 to 1; unset without items.", default=None
    )
    low: float | None = key("Lower end of its 95% interval.", default=None)
    high: float | None = key("Upper end of its 95% interval.", default=None)
    p_value: float | None = key(
        "Probability of at least such a difference by chance, both sides; unset without items.",
        default=None,
    )
    test: PairedTest | None = key("The test that gave it.", default=None)


@dataclass(frozen=True)
class JudgeResult:
    """Summary of a JUDGE stage."""

    scores: list[JudgeScore] = key("One entry per judge, eval set and model.", default=[])
    comparisons: list[JudgeComparison] = key(
        "Comparisons with the untouched model or another run.", default=[]
    )
    template_date: str | None = key(TEMPLATE_DATE, default=None)
