"""The contract between a worker and the stage process it spawns.

The worker writes one JSON job file and runs ``python -m training.stage JOB --events-fd N``. The
process writes one JSON object per line to descriptor N (:func:`encode_event`); whatever it prints
to stdout and stderr becomes log lines. It writes files below ``output_dir`` only.

A process may be started before there is a job, with ``- --threads N --cache-dir DIR`` in place of
JOB: it imports what stages need without starting an accelerator's backend, waits for one line with
the job file's path on standard input, moves to that file's folder, and goes on as if it had been
started there with it. The job must want those threads and that folder. Standard input that ends
without a line ends the process with status 0 and no event.

Signals: SIGTERM asks it to stop at the next step boundary (cancel), SIGUSR1 to save a checkpoint
at the next step boundary and stop (release). It ends with exit status 0 after exactly one of
:class:`ResultEvent` and :class:`StoppedEvent`; with :class:`ErrorEvent` and status 1 when it fails.
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
    """Where an imported eval set is."""

    name: str = key("Its name in the spec (`mine@2`).")
    file: str = key("`eval_set.jsonl`: one eval item a line.")


@dataclass(frozen=True)
class StageInputs:
    """Local paths of what a stage reads; unset where its kind does not need it."""

    dataset: str | None = key("`dataset.jsonl`: one trace a line.", default=None)
    model: str | None = key("Model folder in Hugging Face layout.", default=None)
    split: str | None = key("Folder with `split.json`, written by TRAIN.", default=None)
    predictions: str | None = key(
        "Folder with `predictions.jsonl`, written by INFER.", default=None
    )
    checkpoint: str | None = key("Checkpoint folder to resume from.", default=None)
    base_model: str | None = key(
        "Folder of the untouched model, for `include_base`; left out where the spec's own source "
        "names it.",
        default=None,
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
    baseline_predictions: str | None = key(
        "Folder with `predictions.jsonl` of the run that `pairwise` compares with.", default=None
    )


@dataclass(frozen=True)
class StageJob:
    """One attempt, as the stage process sees it."""

    run: str = key("Resource name of the run.")
    stage: str = key("Stage id within the run.")
    attempt: int = key("Attempt number, from 1.", minimum=1)
    kind: StageKind = key("What to do.")
    spec: RunSpec = key("The resolved run spec.")
    inputs: StageInputs = key("Local input paths.")
    output_dir: str = key("An empty folder of this attempt's own.")
    threads: int = key("CPU threads the slot grants.", minimum=1)
    cache_dir: str | None = key("Per-host compilation cache.", default=None)


class ArtifactKind(enum.StrEnum):
    """What an artifact holds."""

    DATASET = "dataset"
    """`dataset.jsonl` and its `manifest.json`, or `eval_set.jsonl`."""
    SPLIT = "split"
    """`split.json`: the held-out prompts."""
    CHECKPOINT = "checkpoint"
    """Everything needed to continue training at one step."""
    MODEL = "model"
    """A model folder in Hugging Face layout."""
    METRICS = "metrics"
    """`metrics.jsonl`, `certificates.jsonl` and `provenance.json`."""
    PREDICTIONS = "predictions"
    """`predictions.jsonl` and `eval_results.jsonl`."""
    VERDICTS = "verdicts"
    """`verdicts.jsonl`."""


class LogLevel(enum.StrEnum):
    """Severity of a log line."""

    DEBUG = "debug"
    """Detail for whoever looks for a fault."""
    INFO = "info"
    """What is going on."""
    WARNING = "warning"
    """Worth a look; the stage goes on."""
    ERROR = "error"
    """Why the stage fails."""


@dataclass(frozen=True)
class LogEvent:
    """One log line."""

    text: str = key("The line, without its end.")
    level: LogLevel = key("Severity.", default=LogLevel.INFO)


@dataclass(frozen=True)
class MetricEvent:
    """One point of a curve."""

    name: str = key("Such as `loss` or `learning_rate`.")
    step: int = key("Optimizer step, from 1.", minimum=0)
    value: float = key("Finite value.")
    time: float = key("Seconds since the epoch.", unit="seconds")


@dataclass(frozen=True)
class ProgressEvent:
    """How far the stage is."""

    done: int = key("Units done.", minimum=0)
    total: int = key("Units in all.", minimum=0)
    unit: str = key("`steps`, `predictions` or `verdicts`.")


@dataclass(frozen=True)
class CheckpointEvent:
    """A complete checkpoint lies below the output folder."""

    step: int = key("Optimizer step it was taken after.", minimum=0)
    path: str = key("Folder, relative to the output folder.")


@dataclass(frozen=True)
class PredictionEvent:
    """A prediction was made."""

    prediction: Prediction = key("The prediction.")


@dataclass(frozen=True)
class VerdictEvent:
    """A verdict was reached."""

    verdict: Verdict = key("The verdict.")


@dataclass(frozen=True)
class OutputArtifact:
    """A folder of results to keep."""

    kind: ArtifactKind = key("What it holds.")
    path: str = key("Folder, relative to the output folder.")


@dataclass(frozen=True)
class ResultEvent:
    """The stage succeeded; exactly one of the three results is set."""

    artifacts: list[OutputArtifact] = key("Folders to keep.", default=[])
    train: TrainResult | None = key("Of a TRAIN stage.", default=None)
    infer: InferResult | None = key("Of an INFER stage.", default=None)
    judge: JudgeResult | None = key("Of a JUDGE stage.", default=None)

    def violations(self, path: str) -> list[Violation]:
        """Exactly one result."""
        given = [r for r in (self.train, self.infer, self.judge) if r is not None]
        return [] if len(given) == 1 else [Violation(path, f"holds {len(given)} results, not one")]


@dataclass(frozen=True)
class StoppedEvent:
    """The stage stopped because a signal asked it to."""

    released: bool = key("True after SIGUSR1 (may be continued), false after SIGTERM.")


@dataclass(frozen=True)
class ErrorEvent:
    """The stage failed and knows why."""

    reason: str = key("UPPER_SNAKE_CASE, stable, for programs.")
    message: str = key("What was wrong, where, and the way out.")
    retryable: bool = key("Whether another attempt could do better.", default=False)


Event = (
    LogEvent
    | MetricEvent
    | ProgressEvent
    | CheckpointEvent
    | PredictionEvent
    | VerdictEvent
    | ResultEvent
    | StoppedEvent
    | ErrorEvent
)

_EVENTS: dict[str, type[Event]] = {
    "log": LogEvent,
    "metric": MetricEvent,
    "progress": ProgressEvent,
    "checkpoint": CheckpointEvent,
    "prediction": PredictionEvent,
    "verdict": VerdictEvent,
    "result": ResultEvent,
    "stopped": StoppedEvent,
    "error": ErrorEvent,
}
_NAMES = {schema: name for name, schema in _EVENTS.items()}


def encode_event(event: Event) -> str:
    """One JSON line without its end: ``{"log": {"text": …}}``."""
    body = {_NAMES[type(event)]: to_mapping(event)}
    return json.dumps(body, ensure_ascii=False, allow_nan=False)


def decode_event(line: str) -> Event:
    """The inverse of :func:`encode_event`.

    Raises ``ValueError`` (``SpecError`` for a wrong field) when the line is not an event.
    """
    body = json.loads(line)
    if not isinstance(body, dict) or len(body) != 1:
        raise ValueError("an event line is a JSON object with one key")
    ((name, fields),) = body.items()
    if name not in _EVENTS:
        raise ValueError(f"unknown event {name!r}; known: {', '.join(_EVENTS)}")
    return parse(_EVENTS[name], fields, name)


def encode_job(job: StageJob) -> str:
    """The job file's content."""
    return json.dumps(to_mapping(job), ensure_ascii=False, indent=2)


def decode_job(text: str) -> StageJob:
    """Read a job file; raises ``ValueError`` or ``SpecError``."""
    return parse(StageJob, json.loads(text), "job")
