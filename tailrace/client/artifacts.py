"""Calls of ArtifactService about artifacts; blobs are moved by :mod:`tailrace.transfer`."""

from __future__ import annotations

from tailrace.client.call import Paged, Unary, resource
from tailrace.protomap import enum_number
from tailrace.v1 import artifact_pb2, artifact_pb2_grpc

_Stub = artifact_pb2_grpc.ArtifactServiceStub


def get_artifact(name: str) -> Unary[artifact_pb2.Artifact]:
    """An artifact with its files. Raises ``NotFound``."""
    request = artifact_pb2.GetArtifactRequest(name=resource("artifacts", name))
    return Unary(lambda channel: _Stub(channel).GetArtifact, request)


def list_artifacts(
    run: str, *, kind: str = "", page_size: int = 0, limit: int | None = None
) -> Paged[artifact_pb2.ListArtifactsResponse, artifact_pb2.Artifact]:
    """A run's artifacts, oldest first; ``kind`` such as ``model`` or ``checkpoint``.

    Raises ``NotFound``; ``ValueError`` for an unknown kind.
    """
    number = enum_number(artifact_pb2.ArtifactKind.DESCRIPTOR, kind) if kind else 0
    request = artifact_pb2.ListArtifactsRequest(
        parent=resource("runs", run),
        page_size=page_size,
        kind=artifact_pb2.ArtifactKind.ValueType(number),
    )
    return Paged(
        lambda channel: _Stub(channel).ListArtifacts, request, lambda page: page.artifacts, limit
    )
