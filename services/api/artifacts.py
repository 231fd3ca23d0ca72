"""Servicer of ArtifactService."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.api.convert.artifact import artifact_to_proto, kind_from_proto
from services.api.rpc import Rpc, Uploads, current_caller
from services.domain.content.artifact import parse_blob_name
from services.domain.errors import InvalidInput
from services.domain.run import parse_run_name
from services.usecases.content import artifacts
from services.usecases.context import Context
from tailrace.formats.schema import Violation
from tailrace.v1 import artifact_pb2, artifact_pb2_grpc


class ArtifactServicer(artifact_pb2_grpc.ArtifactServiceServicer):
    """Servicer of ``protos/tailrace/v1/artifact.proto``."""

    def __init__(self, context: Context, uploads: Uploads) -> None:
        self._context = context
        self._uploads = uploads

    async def Write(
        self,
        request_iterator: AsyncIterator[artifact_pb2.WriteRequest],
        context: Rpc,
    ) -> artifact_pb2.WriteResponse:
        """Upload a blob, from the offset at which an earlier try stopped."""
        with self._uploads.open(request_iterator) as requests:
            first = await anext(requests, None)
            if first is None:
                raise InvalidInput.field("resource_name", "is missing: the stream has no message")
            committed = await artifacts.write(
                self._context, current_caller(), first.resource_name, _chunks(first, requests)
            )
        return artifact_pb2.WriteResponse(committed_size=committed)

    async def QueryWriteStatus(
        self,
        request: artifact_pb2.QueryWriteStatusRequest,
        context: Rpc,
    ) -> artifact_pb2.QueryWriteStatusResponse:
        """Return the committed size of an upload."""
        status = await artifacts.upload_status(
            self._context, current_caller(), request.resource_name
        )
        return artifact_pb2.QueryWriteStatusResponse(
            committed_size=status.committed, complete=status.complete
        )

    async def Read(
        self, request: artifact_pb2.ReadRequest, context: Rpc
    ) -> AsyncIterator[artifact_pb2.ReadResponse]:
        """Download a blob from an offset."""
        sha256 = parse_blob_name(request.resource_name)
        violations = [
            Violation(field, "must not be negative")
            for field in ("read_offset", "read_limit")
            if getattr(request, field) < 0
        ]
        if violations:
            raise InvalidInput(violations)
        chunks = artifacts.read(
            self._context, current_caller(), sha256, request.read_offset, request.read_limit
        )
        async for chunk in chunks:
            yield artifact_pb2.ReadResponse(data=chunk)

    async def GetArtifact(
        self, request: artifact_pb2.GetArtifactRequest, context: Rpc
    ) -> artifact_pb2.Artifact:
        """Return an artifact with its files."""
        return artifact_to_proto(await artifacts.get(self._context, current_caller(), request.name))

    async def ListArtifacts(
        self, request: artifact_pb2.ListArtifactsRequest, context: Rpc
    ) -> artifact_pb2.ListArtifactsResponse:
        """List a run's artifacts, oldest first."""
        page, token = await artifacts.list_for_run(
            self._context,
            current_caller(),
            parse_run_name(request.parent, "parent"),
            kind=kind_from_proto(request.kind) if request.kind else None,
            size=request.page_size,
            token=request.page_token,
        )
        return artifact_pb2.ListArtifactsResponse(
            artifacts=[artifact_to_proto(artifact) for artifact in page], next_page_token=token
        )


async def _chunks(
    first: artifact_pb2.WriteRequest, rest: AsyncIterator[artifact_pb2.WriteRequest]
) -> AsyncIterator[artifacts.WriteChunk]:
    yield _chunk(first)
    async for request in rest:
        if request.resource_name not in ("", first.resource_name):
            raise InvalidInput.field("resource_name", "must not change within the stream")
        yield _chunk(request)


def _chunk(request: artifact_pb2.WriteRequest) -> artifacts.WriteChunk:
    return artifacts.WriteChunk(request.write_offset, request.data, request.finish_write)
