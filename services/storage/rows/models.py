"""Models in the database."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.content.artifact import Artifact
from services.domain.content.model import Model
from services.domain.errors import AlreadyExists, NotFound
from services.storage.engine.columns import UtcDateTime, metadata, utc_now
from services.storage.engine.insert import insert_new
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
    sa.ForeignKeyConstraint(
        ["project", "artifact_digest"], ["artifacts.project", "artifacts.digest"]
    ),
    sa.Index("ix_models_create_time", "project", "create_time", "model_id"),
)
"""Versions of models, imported or promoted from a run; the files of a version never change."""

_KEY = ("project", "model_id", "version")


async def add(
    conn: AsyncConnection,
    project: str,
    model_id: str,
    description: str,
    architecture: str,
    artifact: Artifact,
) -> Model:
    """Store an imported model; the same id with the same files returns the existing model.

    Raises:
        AlreadyExists: The id has other files (MODEL_EXISTS).
    """
    row = _row(project, model_id, 1, description, architecture, artifact)
    await insert_new(conn, models, row, _KEY)
    model = await get(conn, project, model_id, 1)
    if model.artifact.listing.digest != artifact.listing.digest:
        raise AlreadyExists(
            "MODEL_EXISTS", f"{model.name} exists with other files: choose another id"
        )
    return model


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
    query = sa.select(models).where(models.c.project == project, models.c.model_id == model_id)
    if version is not None:
        query = query.where(models.c.version == version)
    query = query.order_by(models.c.version.desc()).limit(1)
    row = (await conn.execute(query)).mappings().first()
    if row is None:
        name = f"models/{model_id}" + (f"@{version}" if version is not None else "")
        raise NotFound(
            "MODEL_NOT_FOUND",
            f"{name} does not exist: `tailrace models import` makes one, `list` names all",
        )
    return _model(row, await artifacts.get(conn, project, row["artifact_digest"]))


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
    query = sa.select(models).where(models.c.project == project)
    if after is not None:
        position = sa.tuple_(models.c.create_time, models.c.model_id)
        query = query.where(position < sa.tuple_(*_literals(after)))
    query = query.order_by(models.c.create_time.desc(), models.c.model_id.desc()).limit(limit)
    rows = (await conn.execute(query)).mappings().all()
    artifacts_by_digest = await artifacts.get_many(
        conn, project, [row["artifact_digest"] for row in rows]
    )
    return [_model(row, artifacts_by_digest[row["artifact_digest"]]) for row in rows]


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
    }


def _model(row: sa.RowMapping, artifact: Artifact) -> Model:
    names = ("model_id", "description", "architecture", "create_time")
    origin = ("version", "run_uid", "force_reason")
    return Model(artifact=artifact, **{name: row[name] for name in (*names, *origin)})
