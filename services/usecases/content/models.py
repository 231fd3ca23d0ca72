"""Import and reading of models."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services import model_check
from services.domain.caller import Caller
from services.domain.content.model import Model, ModelReference, folder_violations
from services.domain.content.weight_values import has_non_finite
from services.domain.errors import InvalidInput, NotFound
from services.domain.names import description_violations, id_violations
from services.domain.pages import artifact_size, take_fitting, text_size
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.storage.blobs.store import BlobStore, read_all
from services.storage.engine.read_cache import once_per_database
from services.storage.rows import artifacts, model_aliases
from services.storage.rows import models as store
from services.storage.rows.access import audit
from services.usecases.content.artifacts import check_listing
from services.usecases.context import Context
from services.usecases.quotas.content import check_listings
from tailrace.formats.listing import FileEntry, listing_violations
from tailrace.formats.model.check import BEGINNING_BYTES, ModelFiles, TensorPlace
from tailrace.formats.model.files import document_limit
from tailrace.formats.model.folder import has_header
from tailrace.formats.model.safetensors_header import PREFIX_BYTES, header_length
from tailrace.formats.model.tensors import TIED_PROBLEM
from tailrace.formats.model.tokenizer_files import MERGES_FILE, TOKENIZER_FILE, VOCABULARY_FILE
from tailrace.formats.schema import Violation
from tailrace.formats.stage_protocol import ArtifactKind

DEFAULT_PAGE = 100
"""Default page size."""

MAX_HEADERS_BYTES = 32 << 20
"""Maximum size of one model's weight file headers; a larger model is refused."""

MAX_SCANNED_BYTES = 2 << 30
"""Maximum size of weights whose values an import checks, so that it answers within seconds."""


async def import_folder(
    context: Context,
    caller: Caller,
    model_id: str,
    description: str,
    files: Sequence[FileEntry],
) -> Model:
    """Register a folder whose files are uploaded; the same id and files return the existing model.

    Raises:
        InvalidInput: Names every invalid field and file.
        FailedPrecondition: Files are not uploaded (BLOB_MISSING).
        AlreadyExists: The id has other files.
        QuotaExceeded: The project has no room (TOO_MANY_STORED_BYTES).
    """
    violations = [
        *id_violations("model_id", model_id),
        *description_violations("description", description),
        # Checking ten thousand paths would delay other calls.
        *await asyncio.to_thread(listing_violations, files),
        *await asyncio.to_thread(folder_violations, files),
    ]
    if violations:
        raise InvalidInput(violations)
    listing = await check_listing(context, caller.project, files)
    config_class = await _check_content(context, caller.project, files)
    async with context.database.write() as conn:
        await check_listings(conn, context, caller.project, [listing])
        artifact = await artifacts.record(conn, caller.project, listing, ArtifactKind.MODEL)
        model, is_new = await store.add(
            conn, caller.project, model_id, description, config_class, artifact
        )
        if is_new:
            await audit.record(conn, caller, model.versioned_name)
    return model


async def get(context: Context, caller: Caller, name: str) -> Model:
    """Return a version of a model by its name, see :func:`resolve`."""
    async with context.database.read() as conn:
        return await resolve(conn, caller.project, name, "name")


def is_imported(source: str | None) -> bool:
    """Return whether a spec's model source is an imported model, not a preset or a hub model."""
    return source is not None and source.startswith("models/")


async def resolve(
    conn: AsyncConnection, project: str, source: str, field: str = "spec.model.source"
) -> Model:
    """Return the version that ``models/{model}``, its newest, or ``@version`` or ``@alias`` names.

    Raises ``InvalidInput`` at ``field`` and ``NotFound``.
    """
    reference = ModelReference.parse(source, field)
    version = reference.version
    if reference.alias:
        version = await model_aliases.find(conn, project, reference.model_id, reference.alias)
        if not version:
            raise NotFound(
                "MODEL_NOT_FOUND",
                f"{field}: models/{reference.model_id} has no alias {reference.alias!r}; "
                "`tailrace models alias` sets one",
            )
    if version is None:
        return await store.get(conn, project, reference.model_id)
    # The files of a version never change, but another control plane may have deleted it.
    await store.require_live(conn, project, reference.model_id, version)
    return await once_per_database(conn, store.get_stored, project, reference.model_id, version)


async def pinned(conn: AsyncConnection, project: str, source: str) -> Model:
    """Return the version that a resolved spec names.

    It may be deleted once the run has ended, see :mod:`services.usecases.content.model_deletion`.
    """
    model_id, version = pinned_version(source)
    return await once_per_database(conn, store.get_stored, project, model_id, version)


def pinned_version(source: str) -> tuple[str, int]:
    """Return the id and version of a model that a resolved spec names.

    Specs of earlier releases name no version: their models had a single one.
    """
    reference = ModelReference.parse(source, "spec.model.source")
    return reference.model_id, reference.version or 1


async def list_newest(
    context: Context, caller: Caller, *, size: int, token: str
) -> tuple[list[Model], str]:
    """Return a page of models, newest first, and the next token. Raises ``InvalidInput``."""
    query = ["models", caller.project]
    position = decode_page_token(token, query, [datetime, str])
    after = (position[0], position[1]) if position else None
    limit = page_size(size, default=DEFAULT_PAGE)
    async with context.database.read() as conn:
        rows = await store.page(conn, caller.project, after=after, limit=limit + 1)
    page = take_fitting(
        [(artifact_size(m.artifact) + text_size(m.description), m) for m in rows], limit
    )
    if len(page) == len(rows):
        return page, ""
    last = page[-1]
    return page, encode_page_token([last.create_time, last.model_id], query)


async def _check_content(context: Context, project: str, files: Sequence[FileEntry]) -> str:
    """Return the architecture of a valid uploaded model.

    Raises ``InvalidInput`` with all its problems.
    """
    uploaded = _Uploaded(context.blobs.of(project), files)
    # A check may read a hundred megabytes: only a few run at a time.
    async with context.model_checks:
        findings = await model_check.check(await uploaded.read())
        violations = [uploaded.violation(path, problem) for path, problem in findings.problems]
        if not violations:
            violations = [v async for v in _check_values(uploaded, findings)]
    if violations:
        raise InvalidInput(violations)
    return findings.architecture


async def _check_values(
    uploaded: _Uploaded, findings: model_check.Findings
) -> AsyncIterator[Violation]:
    if findings.equal is not None:
        digests = [await uploaded.digest(place) for place in findings.equal]
        if digests[0] != digests[1]:
            yield uploaded.violation(None, TIED_PROBLEM)
    if sum(place.size for _, place in findings.values.values()) > MAX_SCANNED_BYTES:
        return  # The stage checks the values before it starts.
    for name, (dtype, place) in findings.values.items():
        if not await uploaded.is_finite(dtype, place):
            problem = f"{name} holds values that are NaN or infinite: the model is damaged; use an "
            yield uploaded.violation(
                place.path, f"{problem}earlier checkpoint, or download it again"
            )


class _Uploaded:
    """Uploaded files of a model by path."""

    def __init__(self, blobs: BlobStore, files: Sequence[FileEntry]) -> None:
        self._blobs = blobs
        self._files = {file.path: file for file in files}
        self._places = {file.path: i for i, file in enumerate(files)}

    def violation(self, path: str | None, problem: str) -> Violation:
        """Return the violation for a problem of a file, or of the folder."""
        if path is None or path not in self._places:
            return Violation("files", f"{path} {problem}" if path else problem)
        return Violation(f"files[{self._places[path]}]", f"{path!r} {problem}")

    async def read(self) -> ModelFiles:
        """Read the small files, and the beginning of every weight file."""
        unread = (VOCABULARY_FILE, MERGES_FILE) if TOKENIZER_FILE in self._files else ()
        documents = {
            path: await read_all(self._blobs, file.sha256, limit)
            for path, file in self._files.items()
            if (limit := document_limit(path)) is not None and path not in unread
        }
        headers: dict[str, bytes] = {}
        for path, file in self._files.items():
            if has_header(path) and sum(map(len, headers.values())) <= MAX_HEADERS_BYTES:
                headers[path] = await self._beginning(file)
        sizes = {path: file.size_bytes for path, file in self._files.items()}
        return ModelFiles(sizes, documents, headers)

    async def digest(self, place: TensorPlace) -> bytes:
        """Return the sha256 of a tensor's bytes."""
        digest = hashlib.sha256()
        if place.size:
            sha256 = self._files[place.path].sha256
            async for chunk in self._blobs.read(sha256, place.start, place.size):
                await asyncio.to_thread(digest.update, chunk)
        return digest.digest()

    async def is_finite(self, dtype: str, place: TensorPlace) -> bool:
        """Return whether all values of a tensor are finite."""
        if place.size == 0:
            return True
        sha256 = self._files[place.path].sha256
        async for chunk in self._blobs.read(sha256, place.start, place.size):
            if await asyncio.to_thread(has_non_finite, dtype, chunk):
                return False
        return True

    async def _beginning(self, file: FileEntry) -> bytes:
        prefix = await read_all(self._blobs, file.sha256, BEGINNING_BYTES)
        try:
            length = header_length(prefix, file.size_bytes)
        except ValueError:
            return prefix  # The check reports the problem.
        return await read_all(self._blobs, file.sha256, PREFIX_BYTES + length)
