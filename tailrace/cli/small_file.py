"""A small text file out of an artifact, without a place of its own on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tailrace.cli.errors import CommandError
from tailrace.client.blocking import Client
from tailrace.transfer import download_blob
from tailrace.v1 import artifact_pb2

MOST_BYTES = 64 * 1024 * 1024
"""What is read this way is far smaller; larger files are not fetched."""


def read_small_file(client: Client, run: str, file: artifact_pb2.ArtifactFile) -> str:
    """The text of an artifact's file, checked by its sha256; bytes that are no UTF-8 are replaced.

    Raises ``CommandError`` for a large file, naming ``run``; :mod:`tailrace.errors`; ``OSError``.
    """
    if file.size_bytes > MOST_BYTES:
        raise CommandError(
            f"{run}: {file.path} has {file.size_bytes} bytes, more than the {MOST_BYTES} "
            "that such a file may have"
        )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "file"
        download_blob(client.channel, file.sha256, file.size_bytes, target)
        return target.read_text(encoding="utf-8", errors="replace")
