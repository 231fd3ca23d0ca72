"""The contract between a worker and the stage process it spawns.

The worker writes one JSON job file and runs ``python -m training.stage JOB --events-fd N``. The
process writes one JSON object per line to descriptor N (:func:`encode_event`); its stdout and
stderr become log lines. It writes files only below ``output_dir``.

A prewarmed process is started before there is a job, with ``- --threads N --cache-dir DIR`` in
place of JOB. It imports the modules of stages without starting an accelerator's backend, and waits
for one line with the path of the job file on standard input. It then changes to that file's folder
and continues as if started there with the job, which must have the same threads and cache folder.
If standard input ends without a line, the process ends with status 0 and no event.

A process that reports rollouts or a reference waits until the worker has created
:func:`committed_mark` of their path, an empty file: the control plane then has them, and the
training may learn from them. A process that requests a reference waits for the same mark; the
worker has then put the file at the path if any run has published it.

Signals: SIGTERM asks it to stop at the next step boundary (cancel), SIGUSR1 to save a checkpoint
at the next step boundary and stop (release). The last event is a :class:`ResultEvent` or a
:class:`StoppedEvent` with exit status 0, or an :class:`ErrorEvent` with status 1.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass

from tailrace.formats.data.prediction import Prediction
from tailrace.formats.data.verdict import Verdict
from tailrace.formats.results import InferResult, JudgeResult, TrainResult
from tailrace.formats.schema import Violation, key, parse, to_mapping
from tailrace.formats.spec.run_spec import RunSpec, StageKind


@dataclass(frozen=True)
class EvalSetInput:
    """Place of an imported eval set."""

    name: str = key("Name of the eval set in the spec (`mine@2`).")
    file: str = key("`eval_set.jsonl` with one eval item per line.")


@dataclass(frozen=True)
class StageInputs:
    """Local paths of a stage's inputs; unset where its kind does not need them."""

    dataset: str | None = key("`dataset.jsonl` with one trace per line.", default=None)
    model: str | None = key("Model folder in Hugging Face layout.", default=None)
    split: str | None = key("Folder with `split.json`, written by TRAIN.", default=None)
    predictions: str | None = key(
        "Folder with `predictions.jsonl`, written by INFER.", default=None
    )
    checkpoint: str | None = key("Checkpoint folder to resume from.", default=None)
    base_model: str | None = key(
        "Folder of the untrained model, for `include_base`; unset if the spec's source names it.",
        default=None,
    )
    source_checkpoint: str | None = key(
        "Checkpoint folder of another run; the starting model is made from it and from `model` "
        "(`base_model` for `include_base`), the model that the other run started from.",
        default=None,
    )
    source_dataset: str | None = key(
        "`dataset.jsonl` of that run, if it started from a preset.", default=None
    )
    stored_predictions: str | None = key(
        "JSON lines with the predictions of earlier attempts of this INFER stage.", default=None
    )
    judge_models: dict[str, str] = key(
        "Folders of imported models that judge, by the judge's name.",
        default={},
        max_length=16,
        item_length=4096,
    )
    eval_sets: list[EvalSetInput] = key("Imported eval sets.", default=[], max_length=16)
    rollouts: str | None = key(
        "Folder with the rollouts that earlier attempts of this TRAIN stage committed.",
        default=None,
    )
    teacher: str | None = key("Folder of the model that `train.distill` learns from.", default=None)
    baseline_predictions: str | None = key(
        "Folder with `predictions.jsonl` of the run that `pairwise` compares with.", default=None
    )


@dataclass(frozen=True)
class StageJob:
    """One attempt, as the stage process gets it."""

    run: str = key("Resource name of the run.")
    stage: str = key("Stage id within the run.")
    attempt: int = key("Attempt number, from 1.", minimum=1)
    kind: StageKind = key("Kind of the stage.")
    spec: RunSpec = key("The resolved run spec.")
    inputs: StageInputs = key("Local paths of the inputs.")
    output_dir: str = key("Empty folder for the outputs of this attempt.")
    threads: int = key("Number of CPU threads.", minimum=1)
    cache_dir: str | None = key("Folder of the host's cache of compiled programs.", default=None)


class ArtifactKind(enum.StrEnum):
    """Kind of content of an artifact."""

    DATASET = "dataset"
    """`dataset.jsonl` and its `manifest.json`, or `eval_set.jsonl`."""
    SPLIT = "split"
    """`split.json` with the held-out prompts."""
    CHECKPOINT = "checkpoint"
    """The whole training state after one step."""
    MODEL = "model"
    """A model folder in Hugging Face layout."""
    METRICS = "metrics"
    """`metrics.jsonl`, `certificates.jsonl` and `provenance.json`."""
    PREDICTIONS = "predictions"
    """`predictions.jsonl` and `eval_results.jsonl`."""
    VERDICTS = "verdicts"
    """`verdicts.jsonl`."""
    REFERENCE = "reference"
    """`reference.safetensors`: log-probabilities of pairs under the starting model, or of a
    teacher's likeliest tokens."""
    ROLLOUTS = "rollouts"
    """`step-….jsonl.gz`: answers that a step of the training sampled, with their rewards."""


class LogLevel(enum.StrEnum):
    """Severity of a log line."""

    DEBUG = "debug"
    """Detail for troubleshooting."""
    INFO = "info"
    """Progress of the stage."""
    WARNING = "warning"
    """A problem with which the stage continues."""
    ERROR = "error"
    """The reason for which the stage fails."""


@dataclass(frozen=True)
class LogEvent:
    """One line of the stage's log."""

    text: str = key("Text of the line without its end.")
    level: LogLevel = key("Severity.", default=LogLevel.INFO)


@dataclass(frozen=True)
class MetricEvent:
    """One point of a metric's curve."""

    name: str = key("Name of the metric, such as `loss` or `learning_rate`.")
    step: int = key("Optimizer step, from 1.", minimum=0)
    value: float = key("Finite value.")
    time: float = key("Seconds since the epoch.", unit="seconds")


@dataclass(frozen=True)
class ProgressEvent:
    """Progress of the stage in its unit of work."""

    done: int = key("Number of finished units.", minimum=0)
    total: int = key("Total number of units.", minimum=0)
    unit: str = key("Unit: `steps`, `predictions` or `verdicts`.")


@dataclass(frozen=True)
class CheckpointEvent:
    """A complete checkpoint below the output folder."""

    step: int = key("Optimizer step of the checkpoint.", minimum=0)
    path: str = key("Folder, relative to the output folder.")


@dataclass(frozen=True)
class RolloutsEvent:
    """Rollouts of a step, a complete file below the output folder."""

    step: int = key("Step that learns from them; 0 for those of the pre-flight.", minimum=0)
    path: str = key("File, relative to the output folder.")


@dataclass(frozen=True)
class ReferenceRequestEvent:
    """Request for log-probabilities under the starting model that another run may have computed."""

    reference_key: str = key("Digest of all that they depend on.", pattern=r"[0-9a-f]{64}")
    path: str = key("File to write them to, relative to the output folder.")


@dataclass(frozen=True)
class ReferenceEvent:
    """Log-probabilities under the starting model, a complete file below the output folder."""

    reference_key: str = key("Digest of all that they depend on.", pattern=r"[0-9a-f]{64}")
    path: str = key("File, relative to the output folder.")


@dataclass(frozen=True)
class PredictionEvent:
    """A new prediction."""

    prediction: Prediction = key("The prediction.")


@dataclass(frozen=True)
class VerdictEvent:
    """A new verdict."""

    verdict: Verdict = key("The verdict.")


@dataclass(frozen=True)
class OutputArtifact:
    """An output folder to store as an artifact."""

    kind: ArtifactKind = key("Kind of content.")
    path: str = key("Folder, relative to the output folder.")


@dataclass(frozen=True)
class ResultEvent:
    """The success of the stage, with exactly one of the three results."""

    artifacts: list[OutputArtifact] = key("Folders to store as artifacts.", default=[])
    train: TrainResult | None = key("Result of a TRAIN stage.", default=None)
    infer: InferResult | None = key("Result of an INFER stage.", default=None)
    judge: JudgeResult | None = key("Result of a JUDGE stage.", default=None)

    def violations(self, path: str) -> list[Violation]:
        """Return the violation of any other number of results than one."""
        results = [r for r in (self.train, self.infer, self.judge) if r is not None]
        return (
            [] if len(results) == 1 else [Violation(path, f"holds {len(results)} results, not one")]
        )


@dataclass(frozen=True)
class StoppedEvent:
    """The end of a stage that a signal asked to stop."""

    released: bool = key(
        "True after SIGUSR1, so that another attempt can continue; false after SIGTERM."
    )


@dataclass(frozen=True)
class ErrorEvent:
    """The failure of a stage, with its reason."""

    reason: str = key("Stable reason for programs, in UPPER_SNAKE_CASE.")
    message: str = key("Description of the failure and of the way out.")
    retryable: bool = key("True if another attempt could succeed.", default=False)


Event = (
    LogEvent
    | MetricEvent
    | ProgressEvent
    | CheckpointEvent
    | RolloutsEvent
    | ReferenceRequestEvent
    | ReferenceEvent
    | PredictionEvent
    | VerdictEvent
    | ResultEvent
    | StoppedEvent
    | ErrorEvent
)

ExchangeEvent = RolloutsEvent | ReferenceRequestEvent | ReferenceEvent
"""Events that the process waits for the worker's mark after."""

_EVENTS: dict[str, type[Event]] = {
    "log": LogEvent,
    "metric": MetricEvent,
    "progress": ProgressEvent,
    "checkpoint": CheckpointEvent,
    "rollouts": RolloutsEvent,
    "reference_request": ReferenceRequestEvent,
    "reference": ReferenceEvent,
    "prediction": PredictionEvent,
    "verdict": VerdictEvent,
    "result": ResultEvent,
    "stopped": StoppedEvent,
    "error": ErrorEvent,
}
_NAMES = {schema: name for name, schema in _EVENTS.items()}


def committed_mark(path: str) -> str:
    """Return the path of the file that shows that a file is committed, or a request answered."""
    return f"{path}.committed"


def encode_event(event: Event) -> str:
    """Return an event as one JSON line without its end: ``{"log": {"text": …}}``."""
    body = {_NAMES[type(event)]: to_mapping(event)}
    return json.dumps(body, ensure_ascii=False, allow_nan=False)


def decode_event(line: str) -> Event:
    """Parse a line of :func:`encode_event`.

    Raises:
        ValueError: The line is not an event; ``SpecError`` names wrong fields.
    """
    body = json.loads(line)
    if not isinstance(body, dict) or len(body) != 1:
        raise ValueError("an event line must be a JSON object with one key")
    ((name, fields),) = body.items()
    if name not in _EVENTS:
        raise ValueError(f"unknown event {name!r}; known: {', '.join(_EVENTS)}")
    return parse(_EVENTS[name], fields, name)


def encode_job(job: StageJob) -> str:
    """Return the content of a job file."""
    return json.dumps(to_mapping(job), ensure_ascii=False, indent=2)


def decode_job(text: str) -> StageJob:
    """Parse the content of a job file.

    Raises:
        ValueError: The text is not a job; ``SpecError`` names wrong fields.
    """
    return parse(StageJob, json.loads(text), "job")
