"""Request ids that make calls repeatable (AIP-155)."""

from __future__ import annotations

import re

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import AlreadyExists
from services.domain.run import Run
from services.storage.engine.locks import advisory_lock
from services.storage.rows import requests, runs
from tailrace.formats.limits import MAX_NAME
from tailrace.formats.schema import Violation


def request_id_violations(request_id: str) -> list[Violation]:
    """Return the violations of a request id's form."""
    if re.fullmatch(f"[!-~ ]{{0,{MAX_NAME}}}", request_id):
        return []
    return [Violation("request_id", f"must be at most {MAX_NAME} printable ASCII characters")]


async def repeated_request(
    conn: AsyncConnection, project: str, method: str, request_id: str, digest: str
) -> Run | None:
    """Return the run of an earlier call with this request id; ``None`` for a first call.

    Locks the request id until the transaction ends.

    Raises:
        AlreadyExists: The earlier call was another request (REQUEST_ID_REUSED).
    """
    await advisory_lock(conn, f"request:{project}:{method}:{request_id}")
    request = await requests.find_request(conn, project, method, request_id)
    if request is None:
        return None
    check_repeated(method, request_id, request, digest)
    return await runs.find_by_uid(conn, request.run_uid)


def check_repeated(method: str, request_id: str, request: requests.Request, digest: str) -> None:
    """Raise ``AlreadyExists`` (REQUEST_ID_REUSED) unless the earlier request was the same one."""
    if request.digest != digest:
        raise AlreadyExists(
            "REQUEST_ID_REUSED", f"request_id {request_id!r} was used for another {method} request"
        )
