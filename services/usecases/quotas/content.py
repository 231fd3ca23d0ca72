"""Quotas of content: stored bytes, and bytes of unfinished uploads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.content.artifact import Listing
from services.domain.errors import QuotaExceeded
from services.domain.quota import Quota
from services.runtime.amounts import Share
from services.storage.engine.locks import advisory_lock
from services.storage.rows.access import quotas
from services.usecases.context import Context
from services.usecases.quotas.streams import RETRY_SECONDS


async def check_upload(context: Context, project: str, size: int) -> None:
    """Refuse an upload that the project could not store.

    Raises:
        QuotaExceeded: The project's artifacts would be too large (TOO_MANY_STORED_BYTES).
    """
    limit = context.limits.limit(project, Quota.STORED_BYTES)
    if limit is None:
        return
    async with context.database.read() as conn:
        _check_stored(project, await quotas.stored_bytes(conn, project), size, limit)


async def check_listings(
    conn: AsyncConnection, context: Context, project: str, listings: Sequence[Listing]
) -> None:
    """Refuse artifacts that, with those that the project has, would be too large.

    Other transactions cannot add to the project's artifacts until this one ends.

    Raises:
        QuotaExceeded: TOO_MANY_STORED_BYTES.
    """
    limit = context.limits.limit(project, Quota.STORED_BYTES)
    if limit is None or not listings:
        return
    await advisory_lock(conn, f"stored:{project}")
    sizes = {listing.digest: listing.size_bytes for listing in listings}
    stored = await quotas.list_stored(conn, project, sizes)
    added = sum(size for digest, size in sizes.items() if digest not in stored)
    if added:
        _check_stored(project, await quotas.stored_bytes(conn, project), added, limit)


def _check_stored(project: str, use: int, added: int, limit: int) -> None:
    if use + added > limit:
        raise QuotaExceeded(
            "TOO_MANY_STORED_BYTES",
            f"project {project} stores {use} bytes, and {added} more would exceed the {limit} that "
            "it may: an administrator raises the limit with `tailrace quotas set`",
            quota=Quota.STORED_BYTES,
            project=project,
            limit=limit,
            use=use,
        )


class Upload:
    """Bytes that an unfinished upload counts with."""

    def __init__(self, context: Context, project: str, share: Share) -> None:
        self._context = context
        self._project = project
        self._share = share

    def add(self, size: int) -> None:
        """Count further bytes.

        Raises:
            QuotaExceeded: The project's unfinished uploads would be too large
                (TOO_MANY_UPLOAD_BYTES).
        """
        limit = self._context.limits.limit(self._project, Quota.UPLOAD_BYTES)
        use = self._context.uploads.of(self._project)
        if limit is not None and use + size > limit:
            # Alone, it would be as large: waiting for others does not help.
            fits_alone = self._share.amount + size <= limit
            raise QuotaExceeded(
                "TOO_MANY_UPLOAD_BYTES",
                f"project {self._project} has unfinished uploads of {use} bytes, and {size} more "
                f"would exceed the {limit} that it may: "
                + ("try again once one has ended" if fits_alone else "this one is too large"),
                quota=Quota.UPLOAD_BYTES,
                project=self._project,
                limit=limit,
                use=use,
                retry_delay=RETRY_SECONDS if fits_alone else None,
            )
        self._share.add(size)

    async def counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield chunks, each once it is counted."""
        async for chunk in chunks:
            self.add(len(chunk))
            yield chunk


@contextmanager
def count_upload(context: Context, project: str) -> Iterator[Upload]:
    """Count an upload for the duration of the block; yield what its bytes are added to."""
    with context.uploads.share(project) as share:
        yield Upload(context, project, share)
