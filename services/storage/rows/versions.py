"""Versions in the database: one row per version, keyed (project, id, version)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.content.artifact import Artifact, Listing
from services.domain.content.dataset import Dataset, DatasetHeader, Lineage
from services.domain.content.eval_set import EvalSet
from services.domain.content.version import Lines, Version, VersionHeader, VersionReference
from services.domain.errors import NotFound
from services.storage.engine.columns import BigInt, UtcDateTime, metadata
from services.storage.engine.locks import advisory_lock
from services.storage.rows import artifacts
from tailrace.formats.data.record import DatasetKind
from tailrace.formats.schema import from_mapping, to_mapping
from tailrace.formats.stage_protocol import ArtifactKind

AnyVersion = TypeVar("AnyVersion", bound=Version)


class VersionTable(Generic[AnyVersion]):
    """The versions of one kind, numbered from 1 within (project, id).

    ``name`` is the table's name, ``id_column`` and ``count_column`` are the columns of the id and
    of the number of lines, and ``missing`` is the reason and advice of the error for a version
    that does not exist. Subclasses add ``COLUMNS`` with :meth:`_extra_row` and
    :meth:`_extra_fields`.
    """

    COLUMNS: ClassVar[Mapping[str, sa.types.TypeEngine[Any]]] = {}
    """Further columns by name, none of them required."""

    def __init__(
        self,
        kind: type[AnyVersion],
        name: str,
        id_column: str,
        count_column: str,
        missing: tuple[str, str],
    ) -> None:
        self._kind = kind
        self._missing = missing
        self.table = sa.Table(
            name,
            metadata,
            sa.Column("project", sa.String(63), primary_key=True),
            sa.Column(id_column, sa.String(63), primary_key=True, key="id"),
            sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("description", sa.Text, nullable=False),
            sa.Column("sha256", sa.String(64), nullable=False),
            sa.Column("size_bytes", BigInt, nullable=False),
            sa.Column(count_column, BigInt, nullable=False, key="count"),
            sa.Column("prompt_count", BigInt, nullable=False),
            sa.Column("artifact_digest", sa.String(64), nullable=False),
            sa.Column("create_time", UtcDateTime, nullable=False),
            *(sa.Column(column, type_) for column, type_ in self.COLUMNS.items()),
            sa.ForeignKeyConstraint(
                ["project", "artifact_digest"], ["artifacts.project", "artifacts.digest"]
            ),
        )
        self._newest = _find(self.table).order_by(self.table.c.version.desc()).limit(1)
        self._pinned = _find(self.table).where(self.table.c.version == sa.bindparam("version"))
        self._artifact = artifacts.first_recorded(
            self._pinned.with_only_columns(self.table.c.artifact_digest)
        )

    async def add(
        self,
        conn: AsyncConnection,
        project: str,
        header: VersionHeader,
        lines: Lines,
        files: Listing,
    ) -> tuple[AnyVersion, bool]:
        """Store the next version and its artifact, unless the newest has the same content.

        Returns:
            The version, and whether it is new.
        """
        await advisory_lock(conn, f"{self.table.name}:{project}:{header.id}")
        newest = await self._find_version(conn, project, header.id, None)
        if newest is not None and newest.lines.sha256 == lines.sha256:
            return newest, False
        artifact = await artifacts.record(conn, project, files, ArtifactKind.DATASET)
        row = {
            "project": project,
            "id": header.id,
            "version": newest.version + 1 if newest else 1,
            "description": header.description,
            "sha256": lines.sha256,
            "size_bytes": lines.size_bytes,
            "count": lines.count,
            "prompt_count": lines.prompt_count,
            "artifact_digest": artifact.listing.digest,
            "create_time": artifact.create_time,
            **self._extra_row(header),
        }
        await conn.execute(self.table.insert().values(row))
        return self._version(row), True

    async def get(
        self, conn: AsyncConnection, project: str, reference: VersionReference
    ) -> AnyVersion:
        """Return a version, the newest if the reference names none; raise ``NotFound``."""
        version = await self._find_version(conn, project, reference.id, reference.version)
        if version is None:
            raise self._not_found(reference)
        return version

    async def artifact(
        self, conn: AsyncConnection, project: str, reference: VersionReference
    ) -> Artifact:
        """Return the artifact of the version that a reference names; raise ``NotFound``."""
        parameters = {"project": project, "id": reference.id, "version": reference.version}
        row = (await conn.execute(self._artifact, parameters)).mappings().first()
        if row is None:
            raise self._not_found(reference)
        return artifacts.artifact_of(row)

    async def page(
        self, conn: AsyncConnection, project: str, *, after: str = "", limit: int
    ) -> list[AnyVersion]:
        """Return a page of the newest version of each id after ``after``, by id."""
        columns = self.table.c
        newest = (
            sa.select(columns.id, sa.func.max(columns.version).label("version"))
            .where(columns.project == project, columns.id > after)
            .group_by(columns.id)
            .order_by(columns.id)
            .limit(limit)
            .subquery()
        )
        same = sa.and_(columns.id == newest.c.id, columns.version == newest.c.version)
        query = sa.select(self.table).join(newest, same).where(columns.project == project)
        rows = await conn.execute(query.order_by(columns.id))
        return [self._of_row(row) for row in rows]

    async def _find_version(
        self, conn: AsyncConnection, project: str, id_: str, version: int | None
    ) -> AnyVersion | None:
        parameters: dict[str, Any] = {"project": project, "id": id_}
        if version is None:
            row = (await conn.execute(self._newest, parameters)).first()
        else:
            row = (await conn.execute(self._pinned, {**parameters, "version": version})).first()
        return None if row is None else self._of_row(row)

    def _of_row(self, row: sa.Row[Any]) -> AnyVersion:
        return self._version(dict(zip(self.table.c.keys(), row, strict=True)))

    def _version(self, row: dict[str, Any]) -> AnyVersion:
        lines = Lines(row["sha256"], row["size_bytes"], row["count"], row["prompt_count"])
        return self._kind(
            row["id"],
            row["version"],
            row["description"],
            lines,
            row["artifact_digest"],
            row["create_time"],
            **self._extra_fields(row),
        )

    def _extra_row(self, header: VersionHeader) -> dict[str, Any]:
        """Return the values of the further columns for a new version."""
        return {}

    def _extra_fields(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the fields that a version of this kind has in addition."""
        return {}

    def _not_found(self, reference: VersionReference) -> NotFound:
        reason, advice = self._missing
        name = f"{reference.COLLECTION}/{reference}"
        return NotFound(reason, f"{name} does not exist: {advice}")


def _find(table: sa.Table) -> sa.Select[Any]:
    """Return a query for a project and id, which are parameters."""
    return sa.select(table).where(
        table.c.project == sa.bindparam("project"), table.c.id == sa.bindparam("id")
    )


class DatasetTable(VersionTable[Dataset]):
    """Versions of datasets, with their kind and source."""

    COLUMNS: ClassVar[Mapping[str, sa.types.TypeEngine[Any]]] = {
        "kind": sa.String(20),
        "lineage": sa.JSON(none_as_null=True),
    }

    def _extra_row(self, header: VersionHeader) -> dict[str, Any]:
        if not isinstance(header, DatasetHeader) or header.kind is None:
            raise TypeError("a dataset's version needs the kind of its lines")
        return {
            "kind": header.kind.value,
            "lineage": to_mapping(header.lineage) if header.lineage else None,
        }

    def _extra_fields(self, row: dict[str, Any]) -> dict[str, Any]:
        lineage = row["lineage"]
        # Datasets of earlier releases hold traces.
        return {
            "kind": DatasetKind(row["kind"] or DatasetKind.TRACE),
            "lineage": from_mapping(Lineage, lineage) if lineage else None,
        }


DATASETS = DatasetTable(
    Dataset,
    "datasets",
    id_column="dataset_id",
    count_column="trace_count",
    missing=(
        "DATASET_NOT_FOUND",
        "`tailrace datasets seed` or `import` makes one, `list` names all",
    ),
)
"""Versions of datasets."""

EVAL_SETS = VersionTable(
    EvalSet,
    "eval_sets",
    id_column="eval_set_id",
    count_column="item_count",
    missing=(
        "EVAL_SET_NOT_FOUND",
        "`tailrace evalsets import` makes one, `list` names all",
    ),
)
"""Versions of imported eval sets."""
