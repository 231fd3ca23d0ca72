"""A context over a real database and a real blob folder, and the files that go into it."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

from services.settings import Settings
from services.storage.blobs.folder import FolderBlobStores
from services.storage.engine.database import Database
from services.usecases.context import Context
from tailrace.formats.listing import FileEntry


def make_context(database_url: str, folder: Path, **settings: Any) -> Context:
    control_plane_settings = Settings(database_url=database_url, data_dir=folder, **settings)
    return Context(control_plane_settings, Database(database_url), FolderBlobStores(folder))


async def put(context: Context, path: str, content: bytes, project: str = "default") -> FileEntry:
    """Store a file's content and return its entry."""
    blob = await context.blobs.of(project).put(io.BytesIO(content))
    return FileEntry(path, blob.sha256, blob.size_bytes)


def not_uploaded(path: str, content: bytes = b"absent") -> FileEntry:
    return FileEntry(path, hashlib.sha256(content).hexdigest(), len(content))


def trace_line(prompt: str = "2 + 2?", **fields: Any) -> bytes:
    trace = {
        "prompt": prompt,
        "steps": [{"i": 0, "type": "calculation", "content": "adding"}],
        "answer": "4",
        **fields,
    }
    return json.dumps(trace).encode() + b"\n"
