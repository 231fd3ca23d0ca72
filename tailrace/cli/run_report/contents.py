"""Contents of a report, as the control plane returns them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailrace.cli.run_report.curve import Points
from tailrace.cli.run_report.examples import Example, examples_of
from tailrace.cli.small_file import read_small_file
from tailrace.client.blocking import Client
from tailrace.v1 import artifact_pb2, run_pb2

CURVES = ("loss", "eval_loss")
"""Metrics in the chart."""

_PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Contents:
    """Data of one run."""

    run: run_pb2.Run
    """Run with stages, attempts and history."""
    curves: dict[str, Points]
    """Points of the metrics of :data:`CURVES` that the run has."""
    examples: list[Example]
    """Predictions with their verdicts; failed ones come first."""
    more_examples: bool
    """True if the run has predictions beyond the limit."""
    artifacts: list[artifact_pb2.Artifact]
    """Artifacts of its stages, oldest first."""
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
    return Contents(
        run=message,
        curves=_curves(client.stream_metrics(run, metric_names=CURVES)),
        examples=examples_of(predictions[:limit], client.list_verdicts(run)),
        more_examples=len(predictions) > limit,
        artifacts=artifacts,
        provenance=_provenance(client, run, artifacts),
    )


def _curves(batches: Iterable[run_pb2.StreamMetricsResponse]) -> dict[str, Points]:
    """Return values by metric and step; of a repeated step the last one counts."""
    values: dict[str, dict[int, float]] = {}
    for batch in batches:
        for point in batch.points:
            if point.name in CURVES:
                values.setdefault(point.name, {})[point.step] = point.value
    return {name: sorted(values[name].items()) for name in CURVES if name in values}


def _provenance(client: Client, run: str, artifacts: Iterable[artifact_pb2.Artifact]) -> str:
    files = [file for artifact in artifacts for file in artifact.files if file.path == _PROVENANCE]
    return read_small_file(client, run, files[-1]) if files else ""
