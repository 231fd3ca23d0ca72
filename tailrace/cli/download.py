"""Results of a run as folders, in the layout of ``training/``'s output."""

from __future__ import annotations

import enum
from collections.abc import Collection
from pathlib import Path

from tailrace.cli import exit_codes
from tailrace.cli.errors import CommandError
from tailrace.client.blocking import Client
from tailrace.protomap import enum_word
from tailrace.transfer import download_artifact
from tailrace.v1 import artifact_pb2


class Part(enum.StrEnum):
    """A part of a run's results."""

    MODEL = "model"
    """The trained model, a Hugging Face folder: ``final_model/``."""
    METRICS = "metrics"
    """``metrics.jsonl``, ``certificates.jsonl`` and ``provenance.json``."""
    PREDICTIONS = "predictions"
    """``predictions.jsonl`` and ``eval_results.jsonl``."""
    VERDICTS = "verdicts"
    """``verdicts.jsonl``."""
    SPLIT = "split"
    """``split.json``: the held-out prompts."""
    CHECKPOINT = "checkpoint"
    """The newest checkpoint: ``checkpoint/``."""


_FOLDERS = {Part.MODEL: "final_model", Part.CHECKPOINT: "checkpoint"}

_DEFAULT = frozenset(Part) - {Part.CHECKPOINT}


def download_run(
    client: Client, run: str, folder: Path, parts: Collection[Part] = ()
) -> dict[Part, Path]:
    """Download a run's results to ``folder`` and return the path of each part.

    The default is every part but checkpoints. Of several artifacts of a kind the newest is taken.
    Files that have the right content stay.

    Raises:
        CommandError: The run lacks a requested part, or any part at all.
        TailraceError: A call failed.
        OSError: A file cannot be written.
    """
    selection = frozenset(parts) or _DEFAULT
    newest: dict[Part, artifact_pb2.Artifact] = {}
    for artifact in client.list_artifacts(run):
        word = enum_word(artifact_pb2.ArtifactKind.DESCRIPTOR, artifact.kind)
        if word in selection:
            newest[Part(word)] = artifact
    missing = (frozenset(parts) or frozenset()) - newest.keys()
    if missing or not newest:
        names = ", ".join(sorted(missing)) or "results"
        raise CommandError(f"{run} has no {names} yet", exit_codes.NOT_FOUND)
    written = {}
    for part, artifact in sorted(newest.items()):
        written[part] = folder / _FOLDERS.get(part, ".")
        try:
            download_artifact(client.channel, artifact, written[part])
        except ValueError as error:
            raise CommandError(str(error)) from error
    return written
