"""Imported eval sets in the database: one row per version."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.artifact import Artifact, Listing
from services.domain.errors import NotFound
from services.domain.eval_set import EvalSet, EvalSetContent, EvalSetHeader, EvalSetReference
from services.storage import artifacts, versions
from services.storage.columns import BigInt, UtcDateTime, metadata
from services.storage.locks import advisory_lock
from tailrace.formats.stage_job import ArtifactKind

eval_sets = sa.Table(
    "eval_sets",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("eval_set_id", sa.String(63), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size_bytes", BigInt, nullable=False),
    sa.Column("item_count", BigInt, nullable=False),
    sa.Column("prompt_count", BigInt, nullable=False),
    sa.Column("artifact_digest", sa.String(64), nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.ForeignKeyConstraint(
        ["project", "artifact_digest"], ["artifacts.project", "artifacts.digest"]
    ),
)
"""Versions, numbered from 1 within (project, eval_set_id)."""


async def add_version(
    conn: AsyncConnection,
    project: str,
    header: EvalSetHeader,
    content: EvalSetContent,
    files: Listing,
) -> EvalSet:
    """Store the next version and its artifact; the newest version's content returns that one."""
    await advisory_lock(conn, f"eval_set:{project}:{header.eval_set_id}")
    newest = await _find(conn, project, EvalSetReference(header.eval_set_id, None))
    if newest is not None and newest.content.sha256 == content.sha256:
        return newest
    artifact = await artifacts.record(conn, project, files, ArtifactKind.DATASET)
    made = EvalSet(
        header.eval_set_id,
        newest.version + 1 if newest else 1,
        header.description,
        content,
        artifact.listing.digest,
        artifact.create_time,
    )
    row = {
        "project": project,
        "eval_set_id": made.eval_set_id,
        "version": made.version,
        "description": made.description,
        **{field: getattr(content, field) for field in content.__dataclass_fields__},
        "artifact_digest": made.artifact_digest,
        "create_time": made.create_time,
    }
    await conn.execute(eval_sets.insert().values(row))
    return made


async def get(conn: AsyncConnection, project: str, reference: EvalSetReference) -> EvalSet:
    """A version, the newest where none is named. Raises ``NotFound`` (EVAL_SET_NOT_FOUND)."""
    found = await _find(conn, project, reference)
    if found is None:
        raise _missing(reference)
    return found


async def artifact(conn: AsyncConnection, project: str, reference: EvalSetReference) -> Artifact:
    """The files of a version. Raises ``NotFound``, as :func:`get`."""
    found = await versions.artifact(conn, eval_sets, "eval_set_id", project, reference)
    if found is None:
        raise _missing(reference)
    return found


async def page(
    conn: AsyncConnection, project: str, *, after: str = "", limit: int
) -> list[EvalSet]:
    """The newest version of each eval set whose id sorts after ``after``, by id."""
    rows = await versions.page(conn, eval_sets, "eval_set_id", project, after=after, limit=limit)
    return [_eval_set(row) for row in rows]


async def _find(conn: AsyncConnection, project: str, reference: EvalSetReference) -> EvalSet | None:
    row = await versions.find(conn, eval_sets, "eval_set_id", project, reference)
    return None if row is None else _eval_set(row)


def _missing(reference: EvalSetReference) -> NotFound:
    return NotFound(
        "EVAL_SET_NOT_FOUND",
        f"evalsets/{reference} does not exist: import it, or list what there is",
    )


def _eval_set(row: sa.RowMapping) -> EvalSet:
    return EvalSet(
        row["eval_set_id"],
        row["version"],
        row["description"],
        EvalSetContent(row["sha256"], row["size_bytes"], row["item_count"], row["prompt_count"]),
        row["artifact_digest"],
        row["create_time"],
    )
