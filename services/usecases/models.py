"""Importing and reading models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import InvalidInput
from services.domain.model import (
    MAX_CONFIG_BYTES,
    Model,
    architecture,
    folder_violations,
    parse_model_name,
)
from services.domain.names import description_violations, id_violations
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.domain.safetensors import PREFIX_BYTES, check_header, header_length
from services.storage import artifacts
from services.storage import models as store
from services.storage.blobs import BlobStore, read_all
from services.usecases.artifacts import checked_listing
from services.usecases.context import Context
from tailrace.formats.listing import FileEntry, listing_violations
from tailrace.formats.model_folder import CONFIG_FILE, WEIGHTS
from tailrace.formats.schema import Violation
from tailrace.formats.stage_job import ArtifactKind

DEFAULT_PAGE = 100
"""Entries of a page when the request does not say."""


async def import_folder(
    context: Context,
    project: str,
    model_id: str,
    description: str,
    files: Sequence[FileEntry],
) -> Model:
    """Register a folder whose files are uploaded; the same id and files return the model there is.

    Raises ``InvalidInput`` (every unfit field and file), ``FailedPrecondition`` (BLOB_MISSING) and
    ``AlreadyExists`` (the id has other files).
    """
    violations = [
        *id_violations("model_id", model_id),
        *description_violations("description", description),
        *listing_violations(files),
        *folder_violations(files),
    ]
    if violations:
        raise InvalidInput(violations)
    listing = await checked_listing(context.blobs, files)
    config_class = await _check_content(context.blobs, files)
    async with context.database.write() as conn:
        artifact = await artifacts.record(conn, project, listing, ArtifactKind.MODEL)
        return await store.add(conn, project, model_id, description, config_class, artifact)


async def get(context: Context, project: str, name: str) -> Model:
    """The model ``models/{model}``. Raises ``InvalidInput`` and ``NotFound``."""
    model_id = parse_model_name(name)
    async with context.database.read() as conn:
        return await store.get(conn, project, model_id)


async def resolve(
    conn: AsyncConnection, project: str, source: str, field: str = "spec.model.source"
) -> Model:
    """The imported model that a run spec names (``models/{model}``).

    Raises ``InvalidInput`` at ``field`` and ``NotFound``.
    """
    return await store.get(conn, project, parse_model_name(source, field))


async def list_newest(
    context: Context, project: str, *, size: int, token: str
) -> tuple[list[Model], str]:
    """A page of models, newest first, and the next page's token. Raises ``InvalidInput``."""
    position = decode_page_token(token, "models", [datetime, str])
    after = (position[0], position[1]) if position else None
    limit = page_size(size, default=DEFAULT_PAGE)
    async with context.database.read() as conn:
        rows = await store.page(conn, project, after=after, limit=limit + 1)
    found = rows[:limit]
    if len(rows) <= limit:
        return found, ""
    last = found[-1]
    return found, encode_page_token([last.create_time, last.model_id], "models")


async def _check_content(blobs: BlobStore, files: Sequence[FileEntry]) -> str:
    """Open what was uploaded: the config's architecture; every weights file has a sound header."""
    violations: list[Violation] = []
    found = ""
    for i, file in enumerate(files):
        try:
            if file.path == CONFIG_FILE:
                found = await _architecture(blobs, file)
            elif file.path.endswith(WEIGHTS):
                await _check_weights(blobs, file)
        except ValueError as error:
            violations.append(Violation(f"files[{i}]", f"{file.path!r} {error}"))
    if violations:
        raise InvalidInput(violations)
    return found


async def _architecture(blobs: BlobStore, file: FileEntry) -> str:
    content = await read_all(blobs, file.sha256, MAX_CONFIG_BYTES)
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON") from error
    return architecture(config)


async def _check_weights(blobs: BlobStore, file: FileEntry) -> None:
    prefix = await read_all(blobs, file.sha256, PREFIX_BYTES)
    length = header_length(prefix, file.size_bytes)
    start = await read_all(blobs, file.sha256, PREFIX_BYTES + length)
    await asyncio.to_thread(check_header, start[PREFIX_BYTES:], file.size_bytes)
