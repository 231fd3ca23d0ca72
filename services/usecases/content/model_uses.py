"""Imported and promoted models that the stages of runs load."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from services.storage.rows import models as store
from services.usecases.content.models import is_imported, pinned_version
from services.usecases.runs.model_source import find_source, run_model
from tailrace.formats.spec.model_spec import AdapterUse
from tailrace.formats.spec.run_spec import RunSpec


def named_models(spec: RunSpec) -> set[str]:
    """Return the models that a run starts from, learns from and judges with, as its spec does."""
    backends = [judge.backend() for judge in (*spec.judges, *spec.reward_judges)]
    names = [backend.model for backend in backends if backend is not None]
    if spec.model is not None and spec.predictions is None:
        names += [spec.model.source, spec.teacher]
    return {name for name in names if name is not None and is_imported(name)}


async def models_of_source(conn: AsyncConnection, project: str, spec: RunSpec) -> set[str]:
    """Return the models that stages load because of the run that a resolved spec starts from.

    A checkpoint and a continued adapter need the model that their own run started from.
    """
    names: set[str] = set()
    while (name := run_model(spec)) is not None:
        source = await find_source(conn, project, name)
        is_continued = spec.model is not None and spec.model.adapter is AdapterUse.CONTINUE
        if source.step is None and not is_continued:
            break
        spec = source.run.resolved_spec
        if spec.model is not None and spec.model.source and is_imported(spec.model.source):
            names.add(spec.model.source)
    return names


async def keep_models(conn: AsyncConnection, project: str, spec: RunSpec) -> None:
    """Keep the models of a spec, resolved or not, from being deleted until the transaction ends."""
    if named_models(spec) or run_model(spec) is not None:
        await store.keep_named(conn, project)


async def require_models(conn: AsyncConnection, project: str, spec: RunSpec) -> None:
    """Raise ``NotFound`` (MODEL_NOT_FOUND) unless all models of a resolved spec exist."""
    for name in sorted(named_models(spec) | await models_of_source(conn, project, spec)):
        await store.require_live(conn, project, *pinned_version(name))
