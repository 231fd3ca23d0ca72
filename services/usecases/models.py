"""Importing and reading models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import InvalidInput
from services.domain.model import (
    MAX_CONFIG_BYTES,
    MAX_INDEX_BYTES,
    Model,
    architecture,
    folder_violations,
    parse_config,
    parse_model_name,
    weight_files,
)
from services.domain.names import description_violations, id_violations
from services.domain.pages import artifact_size, fitting, text_size
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.domain.safetensors import PREFIX_BYTES, header_length, read_header
from services.storage import artifacts
from services.storage import models as store
from services.storage.answers import for_good
from services.storage.blobs import BlobStore, read_all
from services.usecases.artifacts import checked_listing
from services.usecases.context import Context
from tailrace.formats.architectures import Tensor, weight_problems
from tailrace.formats.listing import FileEntry, listing_violations
from tailrace.formats.model_folder import CONFIG_FILE, WEIGHTS, WEIGHTS_FILE, WEIGHTS_INDEX
from tailrace.formats.schema import Violation
from tailrace.formats.stage_job import ArtifactKind

T = TypeVar("T")

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
        # Ten thousand paths take long enough to be noticed by others.
        *await asyncio.to_thread(listing_violations, files),
        *await asyncio.to_thread(folder_violations, files),
    ]
    if violations:
        raise InvalidInput(violations)
    listing = await checked_listing(context, files)
    config_class = await _check_content(context.blobs, files)
    async with context.database.write() as conn:
        artifact = await artifacts.record(conn, project, listing, ArtifactKind.MODEL)
        return await store.add(conn, project, model_id, description, config_class, artifact)


async def get(context: Context, project: str, name: str) -> Model:
    """The model ``models/{model}``. Raises ``InvalidInput`` and ``NotFound``."""
    model_id = parse_model_name(name)
    async with context.database.read() as conn:
        return await store.get(conn, project, model_id)


def is_imported(source: str | None) -> bool:
    """Whether a spec's model source was imported here, and is not a preset or one of the hub's."""
    return source is not None and source.startswith("models/")


async def resolve(
    conn: AsyncConnection, project: str, source: str, field: str = "spec.model.source"
) -> Model:
    """The imported model that a run spec names (``models/{model}``).

    Raises ``InvalidInput`` at ``field`` and ``NotFound``.
    """
    return await for_good(conn, store.get, project, parse_model_name(source, field))


async def list_newest(
    context: Context, project: str, *, size: int, token: str
) -> tuple[list[Model], str]:
    """A page of models, newest first, and the next page's token. Raises ``InvalidInput``."""
    position = decode_page_token(token, "models", [datetime, str])
    after = (position[0], position[1]) if position else None
    limit = page_size(size, default=DEFAULT_PAGE)
    async with context.database.read() as conn:
        rows = await store.page(conn, project, after=after, limit=limit + 1)
    found = fitting(
        [(artifact_size(m.artifact) + text_size(m.description), m) for m in rows], limit
    )
    if len(found) == len(rows):
        return found, ""
    last = found[-1]
    return found, encode_page_token([last.create_time, last.model_id], "models")


async def _check_content(blobs: BlobStore, files: Sequence[FileEntry]) -> str:
    """Open what was uploaded; the config's architecture, whose tensors the weights must hold."""
    opened = _Opened(blobs, files)
    config = await opened.read(CONFIG_FILE, MAX_CONFIG_BYTES, parse_config)
    loaded = await _weight_files(opened)
    tensors: dict[str, Tensor] = {}
    for path in (path for path in opened.places if path.endswith(WEIGHTS)):
        found_there = await opened.tensors(path)
        tensors |= found_there if path in loaded else {}
    if opened.violations or config is None:
        raise InvalidInput(opened.violations)
    try:
        found = await asyncio.to_thread(weight_problems, config, tensors)
    except ValueError as error:
        raise InvalidInput([opened.violation(CONFIG_FILE, str(error))]) from error
    if found:
        raise InvalidInput.field("files", f"the weights do not fit {CONFIG_FILE}: {found}")
    return architecture(config)


async def _weight_files(opened: _Opened) -> set[str]:
    """The files that are loaded: the one, or those that the index names."""
    if WEIGHTS_FILE in opened.places:
        return {WEIGHTS_FILE}
    named = await opened.read(WEIGHTS_INDEX, MAX_INDEX_BYTES, weight_files) or set()
    missing = sorted(named - set(opened.places))
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        problem = f"names files that are not there: {', '.join(missing[:5])}{more}"
        opened.violations.append(opened.violation(WEIGHTS_INDEX, problem))
    return named & set(opened.places)


class _Opened:
    """Uploaded files by path, and what was found wrong inside them."""

    def __init__(self, blobs: BlobStore, files: Sequence[FileEntry]) -> None:
        self._blobs = blobs
        self._files = files
        self.places = {file.path: i for i, file in enumerate(files)}
        """Where each path is in the request."""
        self.violations: list[Violation] = []
        """All that is wrong so far."""

    def violation(self, path: str, problem: str) -> Violation:
        """What is wrong with the content of one file."""
        return Violation(f"files[{self.places[path]}]", f"{path!r} {problem}")

    async def read(self, path: str, limit: int, parse: Callable[[object], T]) -> T | None:
        """A small JSON file; ``None`` after it was found wrong."""
        try:
            content = await read_all(self._blobs, self._entry(path).sha256, limit)
            return parse(await asyncio.to_thread(_json, content))
        except ValueError as error:
            self.violations.append(self.violation(path, str(error)))
            return None

    async def tensors(self, path: str) -> dict[str, Tensor]:
        """The tensors of a safetensors file; none after it was found wrong."""
        file = self._entry(path)
        try:
            prefix = await read_all(self._blobs, file.sha256, PREFIX_BYTES)
            length = header_length(prefix, file.size_bytes)
            start = await read_all(self._blobs, file.sha256, PREFIX_BYTES + length)
            return await asyncio.to_thread(read_header, start[PREFIX_BYTES:], file.size_bytes)
        except ValueError as error:
            self.violations.append(self.violation(path, str(error)))
            return {}

    def _entry(self, path: str) -> FileEntry:
        return self._files[self.places[path]]


def _json(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON") from error
