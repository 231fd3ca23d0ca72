"""Rollouts of a run: answers that its training sampled, with their rewards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tailrace.formats.data.rollout import Rollout, read_rollouts
from tailrace.formats.stage_protocol import ArtifactKind
from tailrace.transfer import download_artifact

if TYPE_CHECKING:
    from tailrace.client.blocking import Client


def run_rollouts(client: Client, run: str, step: int | None = None) -> Iterator[Rollout]:
    """Yield the answers that a run's training sampled, by step.

    They are the run's artifacts of the kind ``rollouts``, one for each step.

    Args:
        client: Client of the control plane.
        run: Name of the run.
        step: Only this step; 0 has the answers of the pre-flight.

    Raises:
        NotFound: There is no such run.
        DataLoss: The content does not match its sha256.
        FormatError: A file holds other lines.
        OSError: A temporary file cannot be written.
    """
    artifacts = client.list_artifacts(run, kind=ArtifactKind.ROLLOUTS.value)
    chosen = [artifact for artifact in artifacts if step is None or artifact.step == step]
    for artifact in sorted(chosen, key=lambda artifact: artifact.step):
        with tempfile.TemporaryDirectory() as folder:
            download_artifact(client.channel, artifact, Path(folder))
            for file in artifact.files:
                yield from read_rollouts(Path(folder) / file.path)
