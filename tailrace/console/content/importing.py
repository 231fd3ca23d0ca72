"""Imports of uploaded files: chunks go to the control plane while they arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from tailrace.client.aio import AsyncClient
from tailrace.client.call import UPLOAD_CHUNK_BYTES, UPLOAD_TIMEOUT
from tailrace.errors import from_rpc


async def send_upload(
    client: AsyncClient,
    method: Any,
    message_type: Callable[..., Any],
    header: Any,
    chunks: AsyncIterator[bytes],
) -> Any:
    """Send a header and the chunks of a file, once, and return the response.

    Raises:
        TailraceError: The control plane refuses the file or does not answer: the visitor sends it
            again.
    """

    async def requests() -> AsyncIterator[Any]:
        yield message_type(header=header)
        async for chunk in chunks:
            for start in range(0, len(chunk), UPLOAD_CHUNK_BYTES):
                yield message_type(data=chunk[start : start + UPLOAD_CHUNK_BYTES])

    try:
        return await method(requests(), timeout=UPLOAD_TIMEOUT)
    except grpc.RpcError as error:
        raise from_rpc(error, client.server) from error
