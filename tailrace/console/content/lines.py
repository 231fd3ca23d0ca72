"""The first lines of stored content, read as far as they are needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc

from tailrace.client.aio import AsyncClient
from tailrace.errors import DataLoss, from_rpc
from tailrace.v1 import artifact_pb2, artifact_pb2_grpc

MAX_LINES = 10_000
"""Maximum number of lines that a page reads."""

MAX_BYTES = 32 * 1024 * 1024
"""Maximum number of bytes that a page reads."""

EVAL_SET_FILE = "eval_set.jsonl"
"""File of an eval set's artifact."""


@dataclass(frozen=True)
class FirstLines:
    """Lines at the start of a file."""

    lines: list[bytes]
    """Whole lines."""
    is_complete: bool
    """True if the file has no further ones."""


async def read_lines(chunks: AsyncIterator[bytes], count: int = MAX_LINES) -> FirstLines:
    """Return the first lines of a stream, within :data:`MAX_BYTES`, and close it."""
    lines: list[bytes] = []
    rest = b""
    size = 0
    async with aclosing(chunks) as stream:  # type: ignore[type-var]  # an asynchronous generator
        async for chunk in stream:
            size += len(chunk)
            *ends, rest = (rest + chunk).split(b"\n")
            lines += ends
            if len(lines) > count or size >= MAX_BYTES:
                return FirstLines(lines[:count], False)
    if rest:
        lines.append(rest)
    return FirstLines(lines[:count], len(lines) <= count)


def dataset_chunks(client: AsyncClient, name: str) -> AsyncIterator[bytes]:
    """Yield the content of a dataset version."""
    return client.export_dataset(name)


async def eval_set_chunks(client: AsyncClient, artifact: str) -> AsyncIterator[bytes]:
    """Yield the content of an imported eval set, given its artifact.

    Raises:
        DataLoss: The artifact has no such file.
        TailraceError: A call failed.
    """
    files = (await client.get_artifact(artifact)).files
    digest = next((file.sha256 for file in files if file.path == EVAL_SET_FILE), None)
    if digest is None:
        raise DataLoss(f"{artifact} has no {EVAL_SET_FILE}")
    request = artifact_pb2.ReadRequest(resource_name=f"blobs/{digest}", read_limit=MAX_BYTES + 1)
    # The stub's types know only blocking calls.
    stub: Any = artifact_pb2_grpc.ArtifactServiceStub(client.channel)
    responses = stub.Read(request, timeout=client.timeout)
    try:
        async for response in responses:
            yield response.data
    except grpc.RpcError as error:
        raise from_rpc(error, client.server) from error
    finally:
        responses.cancel()
