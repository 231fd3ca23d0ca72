"""Small text files of artifacts, read into memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tailrace.cli.errors import CommandError
from tailrace.client.blocking import Client
from tailrace.transfer import download_blob
from tailrace.v1 import artifact_pb2

MOST_BYTES = 64 * 1024 * 1024
"""Largest file that is read; those that Tailrace writes are far smaller."""


def read_small_file(client: Client, run: str, file: artifact_pb2.ArtifactFile) -> str:
    """Return the text of an artifact's file, checked by its sha256; invalid UTF-8 is replaced.

    Raises:
        CommandError: The file is too large; the message names ``run``.
        TailraceError: The download failed.
        OSError: A temporary file cannot be written.
    """
    if file.size_bytes > MOST_BYTES:
        raise CommandError(
            f"{run}: {file.path} has {file.size_bytes} bytes: must have at most {MOST_BYTES}"
        )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "file"
        download_blob(client.channel, file.sha256, file.size_bytes, target)
        return target.read_text(encoding="utf-8", errors="replace")
