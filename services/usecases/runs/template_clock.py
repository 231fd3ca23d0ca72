"""Date that the chat templates of a run see, fixed when the run is created."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Iterator
from datetime import datetime
from typing import cast

from sqlalchemy.ext.asyncio import AsyncConnection

from services.storage.blobs.store import BlobStore, read_all
from services.storage.engine.read_cache import once_per_database
from services.usecases.content import models
from tailrace.formats.catalog import CHAT_TEMPLATES
from tailrace.formats.model.chat_template import (
    chat_templates,
    default_template,
    is_template_file,
    template_reads_clock,
)
from tailrace.formats.model.tokenizer_files import SETTINGS_FILE
from tailrace.formats.spec.run_spec import ModelSpec, RunSpec

_MAX_BYTES = 16 << 20
"""Maximum size of a file with a template."""


async def with_template_date(
    conn: AsyncConnection, blobs: BlobStore, project: str, spec: RunSpec, now: datetime
) -> RunSpec:
    """Return the spec with ``template_date``, or without it if no template uses a date.

    The templates of a hub model are unknown here, so only a date that the client set is recorded.
    Its stages get the date in any case, and their results report whether a template used it.
    """
    if spec.predictions is None and _override_reads_clock(spec.model):
        return _with_day(spec, now)
    sources = list(_sources(spec))
    imported = [source for source in sources if models.is_imported(source)]
    for source in imported:
        if await _reads_clock(conn, blobs, project, source):
            return _with_day(spec, now)
    unknown = len(imported) < len(sources)
    return spec if unknown else dataclasses.replace(spec, template_date=None)


def _with_day(spec: RunSpec, now: datetime) -> RunSpec:
    return dataclasses.replace(spec, template_date=spec.template_date or now.date().isoformat())


def _override_reads_clock(model: ModelSpec | None) -> bool:
    template = None if model is None else model.chat_template
    if template is None:
        return False
    shipped = CHAT_TEMPLATES.get(template)
    return template_reads_clock(template) if shipped is None else shipped.reads_clock


def _sources(spec: RunSpec) -> Iterator[str]:
    """Yield the models whose own templates the run renders."""
    model = spec.model
    # Predictions of another run are there already, and a spec's own template replaces the model's.
    renders = spec.predictions is None and model is not None and model.chat_template is None
    if renders and model is not None and model.source is not None:
        yield model.source
    for judge in spec.judges:
        backend = judge.backend()
        if backend is not None and backend.model is not None:
            yield backend.model


async def _reads_clock(conn: AsyncConnection, blobs: BlobStore, project: str, source: str) -> bool:
    model = await models.pinned(conn, project, source)
    files = tuple(
        (file.path, file.sha256)
        for file in model.artifact.listing.files
        if file.path == SETTINGS_FILE or is_template_file(file.path)
    )
    return await once_per_database(conn, _template_reads_clock, cast("Hashable", blobs), files)


async def _template_reads_clock(
    _: AsyncConnection, blobs: BlobStore, files: tuple[tuple[str, str], ...]
) -> bool:
    texts = {
        path: (await read_all(blobs, sha256, _MAX_BYTES)).decode("utf-8", "replace")
        for path, sha256 in files
    }
    try:
        settings = json.loads(texts.pop(SETTINGS_FILE, "{}"))
        template = default_template(chat_templates(settings.get("chat_template"), texts))
    except (ValueError, AttributeError, RecursionError):
        # The folder predates the checks of imports; its stage reports the problem.
        return False
    if template is None:
        return False
    shipped = CHAT_TEMPLATES.get(template)
    return template_reads_clock(template) if shipped is None else shipped.reads_clock
