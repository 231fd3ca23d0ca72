"""Models in the database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.content.artifact import Artifact
from services.domain.content.model import Model
from services.domain.errors import AlreadyExists, NotFound
from services.storage.engine.columns import UtcDateTime, metadata, utc_now
from services.storage.engine.locks import advisory_lock, shared_advisory_lock
from services.storage.rows import artifacts

models = sa.Table(
    "models",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("model_id", sa.String(63), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("architecture", sa.String(128), nullable=False),
    sa.Column("artifact_digest", sa.String(64), nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("run_uid", sa.ForeignKey("runs.uid")),
    sa.Column("force_reason", sa.Text, nullable=False),
    sa.Column("delete_time", UtcDateTime),
    sa.ForeignKeyConstraint(
        ["project", "artifact_digest"], ["artifacts.project", "artifacts.digest"]
    ),
    sa.Index("ix_models_create_time", "project", "create_time", "model_id"),
)
"""Versions of models, imported or promoted from a run; the files of a version never change.

The row of a deleted version stays: its number is not used again, and lineages name it.
"""

_LIVE = models.c.delete_time.is_(None)


async def add(
    conn: AsyncConnection,
    project: str,
    model_id: str,
    description: str,
    architecture: str,
    artifact: Artifact,
) -> tuple[Model, bool]:
    """Store an imported model; the same id with the same files returns the existing model.

    Returns:
        The model, and whether it is new.

    Raises:
        AlreadyExists: The id has other files (MODEL_EXISTS).
    """
    await lock(conn, project, model_id)
    live = await live_versions(conn, project, model_id)
    if not live:
        number = await next_version(conn, project, model_id)
        row = _row(project, model_id, number, description, architecture, artifact)
        await conn.execute(models.insert(), row)
        return await get(conn, project, model_id, number), True
    model = await get(conn, project, model_id, live[0])
    if model.artifact.listing.digest != artifact.listing.digest:
        raise AlreadyExists(
            "MODEL_EXISTS", f"{model.name} exists with other files: choose another id"
        )
    return model, False


async def add_version(
    conn: AsyncConnection,
    project: str,
    model: Model,
) -> Model:
    """Store a version whose number is free."""
    row = _row(
        project,
        model.model_id,
        model.version,
        model.description,
        model.architecture,
        model.artifact,
    )
    origin = {"run_uid": model.run_uid, "force_reason": model.force_reason}
    await conn.execute(models.insert(), row | origin | {"create_time": model.create_time})
    return model


async def get(
    conn: AsyncConnection, project: str, model_id: str, version: int | None = None
) -> Model:
    """Return a version of a model with its files, by default the newest.

    Raises:
        NotFound: There is no such model or version (MODEL_NOT_FOUND).
    """
    query = _of(project, model_id).where(_LIVE)
    if version is not None:
        query = query.where(models.c.version == version)
    query = query.order_by(models.c.version.desc()).limit(1)
    row = (await conn.execute(query)).mappings().first()
    if row is None:
        raise not_found(model_id, version)
    return _model(row, await artifacts.get(conn, project, row["artifact_digest"]))


async def get_stored(conn: AsyncConnection, project: str, model_id: str, version: int) -> Model:
    """Return a version, also a deleted one: what is stored under its number never changes.

    Raises ``NotFound`` (MODEL_NOT_FOUND).
    """
    query = _of(project, model_id).where(models.c.version == version)
    row = (await conn.execute(query)).mappings().first()
    if row is None:
        raise not_found(model_id, version)
    return _model(row, await artifacts.get(conn, project, row["artifact_digest"]))


def not_found(model_id: str, version: int | None = None) -> NotFound:
    """Return the error for a model, or a version of it, that does not exist."""
    name = f"models/{model_id}" + (f"@{version}" if version is not None else "")
    return NotFound(
        "MODEL_NOT_FOUND",
        f"{name} does not exist: `tailrace models import` makes one, `list` names all",
    )


async def lock(conn: AsyncConnection, project: str, model_id: str) -> None:
    """Keep others from changing a model's versions and aliases until the transaction ends."""
    await advisory_lock(conn, f"model:{project}:{model_id}")


async def keep_named(conn: AsyncConnection, project: str) -> None:
    """Keep all models of a project from being deleted until the transaction ends."""
    await shared_advisory_lock(conn, f"models:{project}")


async def lock_named(conn: AsyncConnection, project: str) -> None:
    """Keep runs from naming models of a project until the transaction ends."""
    await advisory_lock(conn, f"models:{project}")


async def live_versions(conn: AsyncConnection, project: str, model_id: str) -> list[int]:
    """Return the versions that are not deleted, the first one first."""
    query = _of(project, model_id).with_only_columns(models.c.version).where(_LIVE)
    return [row.version for row in await conn.execute(query.order_by(models.c.version))]


async def next_version(conn: AsyncConnection, project: str, model_id: str) -> int:
    """Return the number of the next version; those of deleted versions are not used again."""
    query = _of(project, model_id).with_only_columns(sa.func.max(models.c.version))
    return int(await conn.scalar(query) or 0) + 1


async def require_live(conn: AsyncConnection, project: str, model_id: str, version: int) -> None:
    """Raise ``NotFound`` (MODEL_NOT_FOUND) for a version that does not exist or is deleted."""
    query = _of(project, model_id).with_only_columns(models.c.version)
    if await conn.scalar(query.where(models.c.version == version, _LIVE)) is None:
        raise not_found(model_id, version)


async def mark_deleted(
    conn: AsyncConnection, project: str, model_id: str, versions: list[int]
) -> None:
    """Delete versions; their rows stay."""
    named = (models.c.project == project, models.c.model_id == model_id)
    update = sa.update(models).where(*named, models.c.version.in_(versions))
    await conn.execute(update.values(delete_time=utc_now()))


async def find_newest(conn: AsyncConnection, project: str, model_id: str) -> Model | None:
    """Return the newest version of a model, or ``None``."""
    try:
        return await get(conn, project, model_id)
    except NotFound:
        return None


async def page(
    conn: AsyncConnection,
    project: str,
    *,
    after: tuple[datetime, str] | None = None,
    limit: int,
) -> list[Model]:
    """Return a page of models, newest first, after a creation time and id."""
    query = sa.select(models).where(models.c.project == project, _LIVE)
    if after is not None:
        position = sa.tuple_(models.c.create_time, models.c.model_id)
        query = query.where(position < sa.tuple_(*_literals(after)))
    query = query.order_by(models.c.create_time.desc(), models.c.model_id.desc()).limit(limit)
    rows = (await conn.execute(query)).mappings().all()
    artifacts_by_digest = await artifacts.get_many(
        conn, project, [row["artifact_digest"] for row in rows]
    )
    return [_model(row, artifacts_by_digest[row["artifact_digest"]]) for row in rows]


def _of(project: str, model_id: str) -> sa.Select[Any]:
    return sa.select(models).where(models.c.project == project, models.c.model_id == model_id)


def _literals(after: tuple[datetime, str]) -> list[sa.ColumnElement[object]]:
    return [sa.literal(after[0], UtcDateTime()), sa.literal(after[1])]


def _row(
    project: str,
    model_id: str,
    version: int,
    description: str,
    architecture: str,
    artifact: Artifact,
) -> dict[str, object]:
    return {
        "project": project,
        "model_id": model_id,
        "version": version,
        "description": description,
        "architecture": architecture,
        "artifact_digest": artifact.listing.digest,
        "create_time": utc_now(),
        "run_uid": None,
        "force_reason": "",
        "delete_time": None,
    }


def _model(row: sa.RowMapping, artifact: Artifact) -> Model:
    names = ("model_id", "description", "architecture", "create_time")
    origin = ("version", "run_uid", "force_reason")
    return Model(artifact=artifact, **{name: row[name] for name in (*names, *origin)})
