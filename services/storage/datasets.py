"""Datasets in the database: one row per version."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.artifact import Artifact, Listing
from services.domain.dataset import Dataset, DatasetContent, DatasetHeader, DatasetReference
from services.domain.errors import NotFound
from services.storage import artifacts, versions
from services.storage.columns import BigInt, UtcDateTime, metadata
from services.storage.locks import advisory_lock
from tailrace.formats.stage_job import ArtifactKind

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("dataset_id", sa.String(63), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size_bytes", BigInt, nullable=False),
    sa.Column("trace_count", BigInt, nullable=False),
    sa.Column("prompt_count", BigInt, nullable=False),
    sa.Column("artifact_digest", sa.String(64), nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.ForeignKeyConstraint(
        ["project", "artifact_digest"], ["artifacts.project", "artifacts.digest"]
    ),
)
"""Versions, numbered from 1 within (project, dataset_id)."""


async def add_version(
    conn: AsyncConnection,
    project: str,
    header: DatasetHeader,
    content: DatasetContent,
    files: Listing,
) -> Dataset:
    """Store the next version and its artifact; the newest version's content returns that one."""
    await advisory_lock(conn, f"dataset:{project}:{header.dataset_id}")
    newest = await _find(conn, project, DatasetReference(header.dataset_id, None))
    if newest is not None and newest.content.sha256 == content.sha256:
        return newest
    artifact = await artifacts.record(conn, project, files, ArtifactKind.DATASET)
    dataset = Dataset(
        header.dataset_id,
        newest.version + 1 if newest else 1,
        header.description,
        content,
        artifact.listing.digest,
        artifact.create_time,
    )
    await conn.execute(
        datasets.insert().values(
            project=project,
            dataset_id=dataset.dataset_id,
            version=dataset.version,
            description=dataset.description,
            sha256=content.sha256,
            size_bytes=content.size_bytes,
            trace_count=content.trace_count,
            prompt_count=content.prompt_count,
            artifact_digest=dataset.artifact_digest,
            create_time=dataset.create_time,
        )
    )
    return dataset


async def get(conn: AsyncConnection, project: str, reference: DatasetReference) -> Dataset:
    """A version, the newest where none is named. Raises ``NotFound`` (DATASET_NOT_FOUND)."""
    dataset = await _find(conn, project, reference)
    if dataset is None:
        raise _missing(reference)
    return dataset


async def artifact(conn: AsyncConnection, project: str, reference: DatasetReference) -> Artifact:
    """The files of a version. Raises ``NotFound``, as :func:`get`."""
    found = await versions.artifact(conn, datasets, "dataset_id", project, reference)
    if found is None:
        raise _missing(reference)
    return found


async def page(
    conn: AsyncConnection, project: str, *, after: str = "", limit: int
) -> list[Dataset]:
    """The newest version of each dataset whose id sorts after ``after``, by id."""
    rows = await versions.page(conn, datasets, "dataset_id", project, after=after, limit=limit)
    return [_dataset(row) for row in rows]


async def _find(conn: AsyncConnection, project: str, reference: DatasetReference) -> Dataset | None:
    row = await versions.find(conn, datasets, "dataset_id", project, reference)
    return None if row is None else _dataset(row)


def _missing(reference: DatasetReference) -> NotFound:
    return NotFound(
        "DATASET_NOT_FOUND",
        f"datasets/{reference} does not exist: import or seed it, or list what there is",
    )


def _dataset(row: sa.RowMapping) -> Dataset:
    return Dataset(
        row["dataset_id"],
        row["version"],
        row["description"],
        DatasetContent(row["sha256"], row["size_bytes"], row["trace_count"], row["prompt_count"]),
        row["artifact_digest"],
        row["create_time"],
    )
