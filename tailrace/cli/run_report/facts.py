"""Origin of a run's results: spec, stages, attempts, artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from google.protobuf import timestamp_pb2

from tailrace.cli.show import output, run_view
from tailrace.protomap import enum_word, to_mapping
from tailrace.v1 import artifact_pb2, run_pb2, run_spec_pb2
from tailrace.yaml_dumper import dump

_ATTEMPT = run_pb2.AttemptState.DESCRIPTOR
_ARTIFACT = artifact_pb2.ArtifactKind.DESCRIPTOR


@dataclass(frozen=True)
class StageFacts:
    """Stage with its attempts."""

    stage: run_pb2.Stage
    state: str
    took: str
    attempts: list[AttemptFacts]


@dataclass(frozen=True)
class AttemptFacts:
    """Attempt with its times as text."""

    attempt: run_pb2.Attempt
    state: str
    started: str
    took: str


def utc(value: timestamp_pb2.Timestamp) -> str:
    """Return UTC to the second, because reports are read elsewhere; empty if not set."""
    if not value.seconds:
        return ""
    return value.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def spec_of(run: run_pb2.Run) -> run_spec_pb2.RunSpec:
    """Return the resolved spec, or the sent one before it is resolved."""
    return run.resolved_spec if run.HasField("resolved_spec") else run.spec


def spec_text(run: run_pb2.Run) -> str:
    """Return the spec as a run file."""
    plain: dict[str, Any] = to_mapping(spec_of(run))
    return dump(plain)


def summary(run: run_pb2.Run) -> Iterator[tuple[str, str]]:
    """Yield the first facts of a run as pairs (name, value)."""
    spec = spec_of(run)
    yield "model", run_view.model_text(run)
    yield "dataset", spec.dataset
    yield "predictions of", run.spec.predictions
    yield "labels", ", ".join(f"{name}={value}" for name, value in sorted(spec.labels.items()))
    yield "created", utc(run.create_time)
    yield "started", utc(run.start_time)
    yield "ended", utc(run.end_time)
    yield "took", output.duration(run.start_time, run.end_time)
    trained = run_view.train_result(run)
    if trained is None:
        return
    yield "loss", f"{output.loss(trained.first_loss)} → {output.loss(trained.last_loss)} nats"
    if trained.HasField("best_eval_loss"):
        early = ", stopped early" if trained.stopped_early else ""
        best = f"{output.loss(trained.best_eval_loss)} nats at step {trained.best_step:,}"
        yield "best eval loss", best + early
    examples = f"{trained.examples:,} examples, {trained.held_out:,} prompts held out"
    yield "trained on", examples
    yield "overlong", run_view.overlong_text(trained)
    cost = f"{trained.steps:,} steps of {trained.parameters:,} parameters"
    yield "training", f"{cost}, {trained.seconds:,.1f} s"


def digests(run: run_pb2.Run, artifacts: list[artifact_pb2.Artifact]) -> Iterator[tuple[str, str]]:
    """Yield the digests of immutable content as pairs (name, digest)."""
    trained = run_view.train_result(run)
    if trained is not None:
        yield "model.safetensors", f"sha256 {trained.model_digest}"
    for artifact in artifacts:
        kind = enum_word(_ARTIFACT, artifact.kind)
        step = f" of step {artifact.step:,}" if artifact.step else ""
        source = f"{artifact.stage} attempt {artifact.attempt}".strip()
        yield f"{kind}{step}, {source}, {output.size(artifact.size_bytes)}", artifact.name
    for stage in run.stages:
        for attempt in stage.attempts:
            if attempt.log_digest:
                log = f"log of {stage.id} attempt {attempt.number}, {attempt.log_lines:,} lines"
                yield log, attempt.log_digest


def stage_facts(stage: run_pb2.Stage) -> StageFacts:
    """Return the facts of a stage for the page."""
    return StageFacts(
        stage=stage,
        state=run_view.stage_state(stage),
        took=output.duration(stage.start_time, stage.end_time),
        attempts=[
            AttemptFacts(
                attempt=attempt,
                state=enum_word(_ATTEMPT, attempt.state).upper(),
                started=utc(attempt.start_time),
                took=output.duration(attempt.start_time, attempt.end_time),
            )
            for attempt in stage.attempts
        ],
    )
