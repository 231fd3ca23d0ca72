"""Reading of versioned content, by name, by reference of a run spec and by page."""

from __future__ import annotations

from typing import Generic

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.caller import Caller
from services.domain.content.artifact import Artifact
from services.domain.content.version import VersionReference
from services.domain.pages import take_fitting, text_size
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.storage.engine.read_cache import once_per_database, once_per_transaction
from services.storage.rows.versions import AnyVersion, VersionTable
from services.usecases.context import Context

DEFAULT_PAGE = 100
"""Default page size."""


class Versions(Generic[AnyVersion]):
    """Versions of one kind of content.

    Args:
        table: Table of the versions.
        reference: Type of a reference to a version.
        field: Field of a run spec that refers to a version.
    """

    def __init__(
        self, table: VersionTable[AnyVersion], reference: type[VersionReference], field: str
    ) -> None:
        self._table = table
        self._reference = reference
        self._field = field

    async def get(self, context: Context, caller: Caller, name: str) -> AnyVersion:
        """Return the version that ``{collection}/{id}[@{version}]`` names.

        Raises ``InvalidInput`` and ``NotFound``.
        """
        reference = self._reference.parse_name(name)
        async with context.database.read() as conn:
            return await self._table.get(conn, caller.project, reference)

    async def resolve(
        self, conn: AsyncConnection, project: str, reference: str, field: str = ""
    ) -> AnyVersion:
        """Return the version that ``name`` or ``name@version`` in a run spec refers to now.

        Raises ``InvalidInput`` at ``field`` (default: that of the content) and ``NotFound``.
        """
        parsed = self._reference.parse(reference, field or self._field)
        read = once_per_transaction if parsed.version is None else once_per_database
        return await read(conn, self._table.get, project, parsed)

    async def artifact(self, conn: AsyncConnection, project: str, reference: str) -> Artifact:
        """Return the artifact of the version that a resolved spec names. Raises ``NotFound``."""
        pinned = self._reference.parse(reference, self._field)
        return await once_per_database(conn, self._table.artifact, project, pinned)

    async def list_newest(
        self, context: Context, caller: Caller, *, size: int, token: str
    ) -> tuple[list[AnyVersion], str]:
        """Return a page of the newest versions by id, and the next token; or ``InvalidInput``."""
        query = [self._reference.COLLECTION, caller.project]
        position = decode_page_token(token, query, [str])
        limit = page_size(size, default=DEFAULT_PAGE)
        after = position[0] if position else ""
        async with context.database.read() as conn:
            rows = await self._table.page(conn, caller.project, after=after, limit=limit + 1)
        page = take_fitting([(text_size(row.description), row) for row in rows], limit)
        more = len(page) < len(rows)
        return page, encode_page_token([page[-1].id], query) if more else ""
