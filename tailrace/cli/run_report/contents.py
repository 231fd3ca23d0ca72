"""Contents of a report, as the control plane returns them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from tailrace.cli.run_report.curve import Points
from tailrace.cli.run_report.examples import Example, examples_of
from tailrace.cli.small_file import read_small_file
from tailrace.client.blocking import Client
from tailrace.client.rollouts import run_rollouts
from tailrace.formats.data.preflight import summary
from tailrace.formats.data.rollout import PREFLIGHT_STEP, Rollout
from tailrace.formats.stage_protocol import ArtifactKind
from tailrace.protomap import enum_number
from tailrace.v1 import artifact_pb2, run_pb2

CURVES = ("loss", "eval_loss")
"""Metrics in the chart."""

REWARD = "reward"
"""Metric in the chart of a training on rewards."""

_PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Contents:
    """Data of one run."""

    run: run_pb2.Run
    """Run with stages, attempts and history."""
    curves: dict[str, Points]
    """Points of the metrics of :data:`CURVES`, and of the reward, that the run has."""
    examples: list[Example]
    """Predictions with their verdicts; failed ones come first."""
    more_examples: bool
    """True if the run has predictions beyond the limit."""
    artifacts: list[artifact_pb2.Artifact]
    """Artifacts of its stages, oldest first."""
    rollouts: list[Rollout]
    """First answers of the newest step that sampled some."""
    preflight: str
    """Figures of the pre-flight; empty without one."""
    provenance: str
    """Environment of the training as JSON; empty without a training."""


def read_contents(client: Client, run: str, limit: int) -> Contents:
    """Read a run with its first ``limit`` predictions.

    Raises:
        TailraceError: A call failed.
        CommandError: provenance.json is too large.
        OSError: A temporary file cannot be written.
    """
    message = client.get_run(run)
    predictions = list(client.list_predictions(run, limit=limit + 1))
    artifacts = list(client.list_artifacts(run))
    steps = _rollout_steps(artifacts)
    sampled = run_rollouts(client, run, max(steps)) if any(steps) else iter(())
    tried = list(run_rollouts(client, run, PREFLIGHT_STEP)) if PREFLIGHT_STEP in steps else []
    return Contents(
        run=message,
        curves=_curves(client.stream_metrics(run, metric_names=(*CURVES, REWARD))),
        examples=examples_of(predictions[:limit], client.list_verdicts(run)),
        more_examples=len(predictions) > limit,
        artifacts=artifacts,
        rollouts=list(islice(sampled, limit)),
        preflight=summary(tried) if tried else "",
        provenance=_provenance(client, run, artifacts),
    )


def _curves(batches: Iterable[run_pb2.StreamMetricsResponse]) -> dict[str, Points]:
    """Return values by metric and step; of a repeated step the last one counts."""
    values: dict[str, dict[int, float]] = {}
    for batch in batches:
        for point in batch.points:
            if point.name in (*CURVES, REWARD):
                values.setdefault(point.name, {})[point.step] = point.value
    return {name: sorted(values[name].items()) for name in (*CURVES, REWARD) if name in values}


def _rollout_steps(artifacts: Iterable[artifact_pb2.Artifact]) -> set[int]:
    kind = enum_number(artifact_pb2.ArtifactKind.DESCRIPTOR, ArtifactKind.ROLLOUTS.value)
    return {artifact.step for artifact in artifacts if artifact.kind == kind}


def _provenance(client: Client, run: str, artifacts: Iterable[artifact_pb2.Artifact]) -> str:
    files = [file for artifact in artifacts for file in artifact.files if file.path == _PROVENANCE]
    return read_small_file(client, run, files[-1]) if files else ""
