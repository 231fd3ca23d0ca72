"""What a finished stage reports: small typed summaries, kept in the run."""

from __future__ import annotations

from dataclasses import dataclass

from tailrace.formats.prediction import ModelRole
from tailrace.formats.schema import key


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


@dataclass(frozen=True)
class InferResult:
    """Summary of an INFER stage."""

    predictions: int = key("Predictions written.", minimum=0)
    errors: int = key("Predictions that carry an error.", default=0, minimum=0)
    completion_tokens: int = key("Generated tokens.", unit="tokens", default=0, minimum=0)
    seconds: float = key("Wall time of generation.", unit="seconds", default=0.0, minimum=0)


@dataclass(frozen=True)
class JudgeScore:
    """One judge's score on one eval set and model."""

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


@dataclass(frozen=True)
class JudgeResult:
    """Summary of a JUDGE stage."""

    scores: list[JudgeScore] = key("One entry per judge, eval set and model.", default=[])
