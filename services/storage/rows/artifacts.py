"""Artifacts in the database: one listing per digest, one reference per use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.content.artifact import Artifact, Listing, Producer
from services.domain.errors import NotFound
from services.storage.engine.columns import BigInt, UtcDateTime, enum_type, metadata, utc_now
from services.storage.engine.insert import insert_new
from tailrace.formats.listing import FileEntry
from tailrace.formats.stage_protocol import ArtifactKind

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("files", sa.JSON, nullable=False),
    sa.Column("size_bytes", BigInt, nullable=False),
    # Sums of a project's sizes read the index alone.
    sa.Index("ix_artifacts_size", "project", "size_bytes"),
)
"""Listings, one per digest: ``files`` is [[path, sha256, size in bytes], …], sorted by path."""

_KEY = ("project", "run_uid", "stage", "attempt", "kind", "step", "digest")

artifact_references = sa.Table(
    "artifact_references",
    metadata,
    sa.Column("id", BigInt, primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("run_uid", sa.String(63), nullable=False),
    sa.Column("run_id", sa.String(63), nullable=False),
    sa.Column("stage", sa.String(63), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("kind", enum_type(ArtifactKind, "artifact_kind", checked=False), nullable=False),
    sa.Column("step", BigInt, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("key", sa.String(64), nullable=True),
    sa.ForeignKeyConstraint(["project", "digest"], ["artifacts.project", "artifacts.digest"]),
    sa.UniqueConstraint(*_KEY, name="uq_artifact_references_use"),
    sa.Index("ix_artifact_references_digest", "project", "digest", "id"),
    sa.Index("ix_artifact_references_run", "project", "run_uid", "id"),
    sa.Index("ix_artifact_references_key", "project", "key", "id"),
)
"""Producers of artifacts, with the kind; for imported content ``run_uid``, ``run_id`` and
``stage`` are empty and ``attempt`` is 0. The uid is the key, because a run's id may be reused.
``key`` is the digest of all that the content depends on, for kinds that are looked up by it.
"""

_JOINED = sa.select(
    artifact_references, artifacts.c.files.label("files"), artifacts.c.size_bytes
).join_from(artifact_references, artifacts)


def first_recorded(digests: Any) -> sa.Select[Any]:
    """Return a query for artifacts by digest, as first recorded; ``project`` is a parameter."""
    ref = artifact_references.c
    first = (
        sa.select(sa.func.min(ref.id))
        .where(ref.project == sa.bindparam("project"), ref.digest.in_(digests))
        .group_by(ref.digest)
    )
    return _JOINED.where(ref.id.in_(first))


_FIRST = first_recorded(sa.bindparam("digests", expanding=True))


async def record(
    conn: AsyncConnection,
    project: str,
    listing: Listing,
    kind: ArtifactKind,
    *,
    producer: Producer | None = None,
    step: int = 0,
    key: str | None = None,
) -> Artifact:
    """Store an artifact and its producer; repetitions change nothing.

    The listing's blobs must exist: ``services.usecases.content.artifacts.check_listing`` checks
    them before the transaction, because the store may be slow.
    """
    files = [[file.path, file.sha256, file.size_bytes] for file in listing.files]
    content = {"project": project, "digest": listing.digest}
    sizes = {"files": files, "size_bytes": listing.size_bytes}
    await insert_new(conn, artifacts, {**content, **sizes}, ("project", "digest"))
    now = utc_now()
    maker = producer or Producer("", "", "", 0)
    reference = {
        **content,
        "run_uid": maker.run_uid,
        "run_id": maker.run_id,
        "stage": maker.stage,
        "attempt": maker.attempt,
        "kind": kind,
        "step": step,
        "create_time": now,
        "key": key,
    }
    await insert_new(conn, artifact_references, reference, _KEY)
    return Artifact(listing, kind, producer, step, now)


async def get(conn: AsyncConnection, project: str, digest: str) -> Artifact:
    """Return an artifact as first recorded; raise ``NotFound`` (ARTIFACT_NOT_FOUND)."""
    artifacts_by_digest = await get_many(conn, project, [digest])
    if not artifacts_by_digest:
        raise NotFound("ARTIFACT_NOT_FOUND", f"artifacts/{digest} does not exist")
    return artifacts_by_digest[digest]


async def get_many(
    conn: AsyncConnection, project: str, digests: Iterable[str]
) -> dict[str, Artifact]:
    """Return the existing artifacts by digest, each as first recorded."""
    parameters = {"project": project, "digests": list(set(digests))}
    rows = (await conn.execute(_FIRST, parameters)).mappings()
    return {row["digest"]: artifact_of(row) for row in rows}


async def list_for_run(
    conn: AsyncConnection,
    project: str,
    run_uid: str,
    *,
    stage: str | None = None,
    attempt: int | None = None,
    kind: ArtifactKind | None = None,
) -> list[Artifact]:
    """Return a run's artifacts, oldest first, optionally of one stage, attempt or kind."""
    page = await page_for_run(conn, project, run_uid, stage=stage, attempt=attempt, kind=kind)
    return [artifact for _, artifact in page]


async def page_for_run(
    conn: AsyncConnection,
    project: str,
    run_uid: str,
    *,
    stage: str | None = None,
    attempt: int | None = None,
    kind: ArtifactKind | None = None,
    after: int = 0,
    limit: int | None = None,
) -> list[tuple[int, Artifact]]:
    """Return up to ``limit`` artifacts after position ``after``, each with its own."""
    ref = artifact_references.c
    query = _JOINED.where(ref.project == project, ref.run_uid == run_uid, ref.id > after)
    for column, value in ((ref.stage, stage), (ref.attempt, attempt), (ref.kind, kind)):
        if value is not None:
            query = query.where(column == value)
    rows = (await conn.execute(query.order_by(ref.id).limit(limit))).mappings()
    return [(row["id"], artifact_of(row)) for row in rows]


async def newest_checkpoint(
    conn: AsyncConnection, project: str, run_uid: str, stage: str
) -> Artifact | None:
    """Return the checkpoint to resume a stage from: the highest step of any attempt."""
    ref = artifact_references.c
    query = (
        _JOINED.where(ref.project == project, ref.run_uid == run_uid, ref.stage == stage)
        .where(ref.kind == ArtifactKind.CHECKPOINT)
        .order_by(ref.step.desc(), ref.id.desc())
        .limit(1)
    )
    row = (await conn.execute(query)).mappings().first()
    return None if row is None else artifact_of(row)


async def find_by_key(
    conn: AsyncConnection, project: str, kind: ArtifactKind, key: str
) -> Artifact | None:
    """Return the newest artifact of a kind with a key."""
    ref = artifact_references.c
    query = (
        _JOINED.where(ref.project == project, ref.key == key, ref.kind == kind)
        .order_by(ref.id.desc())
        .limit(1)
    )
    row = (await conn.execute(query)).mappings().first()
    return None if row is None else artifact_of(row)


async def list_rollouts(
    conn: AsyncConnection, project: str, run_uid: str, stage: str, after: int
) -> list[Artifact]:
    """Return the rollouts of a stage's steps above ``after``, of all attempts, by step."""
    ref = artifact_references.c
    query = (
        _JOINED.where(ref.project == project, ref.run_uid == run_uid, ref.stage == stage)
        .where(ref.kind == ArtifactKind.ROLLOUTS, ref.step > after)
        .order_by(ref.step, ref.id)
    )
    return [artifact_of(row) for row in (await conn.execute(query)).mappings()]


def artifact_of(row: sa.RowMapping) -> Artifact:
    """Return the artifact of a row of :func:`first_recorded`."""
    producer = Producer(row["run_uid"], row["run_id"], row["stage"], row["attempt"])
    return Artifact(
        _listing(row["digest"], row["files"]),
        row["kind"],
        producer if producer.run_uid else None,
        row["step"],
        row["create_time"],
    )


def _listing(digest: str, files: Sequence[Sequence[Any]]) -> Listing:
    return Listing(tuple(FileEntry(*file) for file in files), digest)
