"""Everything a report tells, as the control plane answers it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailrace.cli.run_report.curve import Points
from tailrace.cli.run_report.examples import Example, examples_of
from tailrace.cli.small_file import read_small_file
from tailrace.client.blocking import Client
from tailrace.v1 import artifact_pb2, run_pb2

CURVES = ("loss", "eval_loss")
"""The metrics that are drawn."""

_PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Contents:
    """What one run left behind."""

    run: run_pb2.Run
    """The run with stages, attempts and history."""
    curves: dict[str, Points]
    """The metrics of :data:`CURVES` that there are."""
    examples: list[Example]
    """Predictions with their verdicts, those that did not pass first."""
    more_examples: bool
    """Whether there are predictions beyond the limit."""
    artifacts: list[artifact_pb2.Artifact]
    """What its stages stored, oldest first."""
    provenance: str
    """What the training noted about where it ran, JSON; empty without a training."""


def read_contents(client: Client, run: str, limit: int) -> Contents:
    """Read a run with its first ``limit`` predictions.

    Raises :mod:`tailrace.errors`; ``CommandError`` for a provenance.json that is none; ``OSError``.
    """
    found = client.get_run(run)
    predictions = list(client.list_predictions(run, limit=limit + 1))
    artifacts = list(client.list_artifacts(run))
    return Contents(
        run=found,
        curves=_curves(client.stream_metrics(run, metric_names=CURVES)),
        examples=examples_of(predictions[:limit], client.list_verdicts(run)),
        more_examples=len(predictions) > limit,
        artifacts=artifacts,
        provenance=_provenance(client, run, artifacts),
    )


def _curves(batches: Iterable[run_pb2.StreamMetricsResponse]) -> dict[str, Points]:
    """Values by metric and step; of a step that was run again the last one counts."""
    values: dict[str, dict[int, float]] = {}
    for batch in batches:
        for point in batch.points:
            if point.name in CURVES:
                values.setdefault(point.name, {})[point.step] = point.value
    return {name: sorted(values[name].items()) for name in CURVES if name in values}


def _provenance(client: Client, run: str, artifacts: Iterable[artifact_pb2.Artifact]) -> str:
    files = [file for one in artifacts for file in one.files if file.path == _PROVENANCE]
    return read_small_file(client, run, files[-1]) if files else ""
