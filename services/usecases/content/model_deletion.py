"""Deletion of models that nothing depends on.

Runs that have not ended depend on the models that their stages load. The row of a deleted version
stays: what it names is never another model, so control planes may remember it without an end.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.caller import Caller
from services.domain.content.model import ModelReference
from services.domain.errors import FailedPrecondition, InvalidInput
from services.storage.rows import model_aliases, run_sources
from services.storage.rows import models as store
from services.storage.rows.access import audit
from services.usecases.content.model_uses import models_of_source, named_models
from services.usecases.content.models import pinned_version
from services.usecases.context import Context

MAX_DEPENDENTS = 20
"""Maximum number of runs and aliases that a refusal lists."""

_PAGE = 200
"""Number of runs that are read at a time."""


async def delete(context: Context, caller: Caller, name: str, *, allow_missing: bool) -> None:
    """Delete a version, or without one the whole model with its aliases.

    Raises:
        InvalidInput: The name is not valid, or has an alias.
        NotFound: There is no such model or version (MODEL_NOT_FOUND).
        FailedPrecondition: Runs or aliases depend on it (MODEL_IN_USE).
    """
    reference = ModelReference.parse(name, "name")
    if reference.alias:
        raise InvalidInput.field(
            "name", "must be models/{model} or models/{model}@{version}, without an alias"
        )
    project, model_id = caller.project, reference.model_id
    async with context.database.write() as conn:
        await store.lock(conn, project, model_id)
        await store.lock_named(conn, project)
        live = await store.live_versions(conn, project, model_id)
        is_whole = reference.version is None
        versions = [version for version in live if is_whole or version == reference.version]
        if not versions:
            if allow_missing:
                return
            raise store.not_found(model_id, reference.version)
        aliases = await _aliases(conn, project, model_id, versions)
        await _require_unused(conn, project, name, versions, [] if is_whole else aliases)
        for alias in aliases:
            await model_aliases.move(conn, project, model_id, alias.partition("@")[2], 0)
        await store.mark_deleted(conn, project, model_id, versions)
        await audit.record(conn, caller, name)


async def _aliases(
    conn: AsyncConnection, project: str, model_id: str, versions: list[int]
) -> list[str]:
    """Return the names ``models/{model}@{alias}`` that refer to versions."""
    aliases = await model_aliases.by_model(conn, project, [model_id])
    return [
        f"models/{model_id}@{alias}"
        for version in versions
        for alias in aliases.get((model_id, version), [])
    ]


async def _require_unused(
    conn: AsyncConnection, project: str, name: str, versions: list[int], aliases: list[str]
) -> None:
    model_id = ModelReference.parse(name, "name").model_id
    keys = {(model_id, version) for version in versions}
    dependents = [*aliases, *await _runs(conn, project, keys)]
    if not dependents:
        return
    listed = dependents[:MAX_DEPENDENTS]
    more = " and others" if len(dependents) > MAX_DEPENDENTS else ""
    raise FailedPrecondition(
        "MODEL_IN_USE",
        f"{name} is in use by {', '.join(listed)}{more}: move the aliases, and wait for the runs "
        "to end or cancel them",
        dependents=",".join(listed),
    )


async def _runs(
    conn: AsyncConnection, project: str, keys: Collection[tuple[str, int]]
) -> list[str]:
    """Return the names of unfinished runs that load one of the versions, up to one too many."""
    texts = [f"models/{model_id}@{version}" for model_id, version in keys]
    # Specs of earlier releases name version 1 without its number.
    texts += [f"models/{model_id}" for model_id, version in keys if version == 1]
    names: list[str] = []
    after = ""
    while True:
        page = await run_sources.page_unfinished(conn, project, texts, after=after, limit=_PAGE)
        for run in page:
            spec = run.resolved_spec
            models = named_models(spec) | await models_of_source(conn, project, spec)
            if any(pinned_version(model) in keys for model in models):
                names.append(run.name)
        if len(page) < _PAGE or len(names) > MAX_DEPENDENTS:
            return names
        after = page[-1].uid
