"""Reading what has versions: by name, as run specs refer to it, and page by page."""

from __future__ import annotations

from typing import Generic

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.caller import Caller
from services.domain.content.artifact import Artifact
from services.domain.content.version import VersionReference
from services.domain.pages import fitting, text_size
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.storage.engine.read_cache import once_per_database, once_per_transaction
from services.storage.rows.versions import AnyVersion, VersionTable
from services.usecases.context import Context

DEFAULT_PAGE = 100
"""Entries of a page when the request does not say."""


class Versions(Generic[AnyVersion]):
    """The versions that ``table`` stores, to which ``reference`` refers.

    ``field`` is where run specs name one.
    """

    def __init__(
        self, table: VersionTable[AnyVersion], reference: type[VersionReference], field: str
    ) -> None:
        self._table = table
        self._reference = reference
        self._field = field

    async def get(self, context: Context, caller: Caller, name: str) -> AnyVersion:
        """The version that ``{collection}/{id}[@{version}]`` names.

        Raises ``InvalidInput`` and ``NotFound``.
        """
        reference = self._reference.parse_name(name)
        async with context.database.read() as conn:
            return await self._table.get(conn, caller.project, reference)

    async def resolve(
        self, conn: AsyncConnection, project: str, reference: str, field: str = ""
    ) -> AnyVersion:
        """The version that a run spec's ``name`` or ``name@version`` means now.

        Raises ``InvalidInput`` at ``field``, the usual one where it is empty, and ``NotFound``.
        """
        wanted = self._reference.parse(reference, field or self._field)
        ask = once_per_transaction if wanted.version is None else once_per_database
        return await ask(conn, self._table.get, project, wanted)

    async def artifact(self, conn: AsyncConnection, project: str, reference: str) -> Artifact:
        """The files of the version that a resolved spec names. Raises ``NotFound``."""
        pinned = self._reference.parse(reference, self._field)
        return await once_per_database(conn, self._table.artifact, project, pinned)

    async def list_newest(
        self, context: Context, caller: Caller, *, size: int, token: str
    ) -> tuple[list[AnyVersion], str]:
        """A page of the newest versions, by id, and the next one's token; or ``InvalidInput``."""
        collection = self._reference.COLLECTION
        position = decode_page_token(token, collection, [str])
        limit = page_size(size, default=DEFAULT_PAGE)
        after = position[0] if position else ""
        async with context.database.read() as conn:
            rows = await self._table.page(conn, caller.project, after=after, limit=limit + 1)
        found = fitting([(text_size(row.description), row) for row in rows], limit)
        more = len(found) < len(rows)
        return found, encode_page_token([found[-1].id], collection) if more else ""
