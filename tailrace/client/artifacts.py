"""Calls of ArtifactService about artifacts; :mod:`tailrace.transfer` moves their blobs."""

from __future__ import annotations

from pathlib import Path

from tailrace.client.call import Paged, Transfer, Unary, resource
from tailrace.errors import NotFound
from tailrace.protomap import enum_number
from tailrace.transfer.steps import Job, Request
from tailrace.v1 import artifact_pb2, artifact_pb2_grpc

_Stub = artifact_pb2_grpc.ArtifactServiceStub


def get_artifact(name: str) -> Unary[artifact_pb2.Artifact]:
    """Return an artifact with its files.

    Raises:
        NotFound: There is no such artifact.
    """
    request = artifact_pb2.GetArtifactRequest(name=resource("artifacts", name))
    return Unary(lambda channel: _Stub(channel).GetArtifact, request)


def list_artifacts(
    run: str, *, kind: str = "", page_size: int = 0, limit: int | None = None
) -> Paged[artifact_pb2.ListArtifactsResponse, artifact_pb2.Artifact]:
    """Iterate over a run's artifacts, oldest first.

    Args:
        run: Name of the run.
        kind: Only artifacts of this kind, such as ``model`` or ``checkpoint``.
        page_size: Artifacts per request (default: the server's choice).
        limit: Maximum number of artifacts (default: all).

    Raises:
        NotFound: There is no such run.
        ValueError: The kind is unknown.
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


def download_newest(run: str, kind: str, folder: str | Path) -> Transfer[artifact_pb2.Artifact]:
    """Download a run's newest artifact of a kind into a folder, and return the artifact.

    The folder is created if missing. Files with the right content stay, others of the same name
    are replaced; every file is checked by its sha256, and a download that broke off continues.

    Args:
        run: Name of the run.
        kind: ``model``, ``checkpoint``, ``metrics``, ``predictions``, ``verdicts`` or ``split``.
        folder: Folder for the artifact's files.

    Raises:
        NotFound: There is no such run, or it has no artifact of that kind yet.
        DataLoss: The content does not match its sha256.
        OSError: A file cannot be written.
        ValueError: The kind is unknown, or a path leads out of the folder through a link.
    """
    call = list_artifacts(run, kind=kind)
    return Transfer(lambda: _download_newest(call, kind, Path(folder)))


def _download_newest(
    call: Paged[artifact_pb2.ListArtifactsResponse, artifact_pb2.Artifact], kind: str, folder: Path
) -> Job[artifact_pb2.Artifact]:
    from tailrace.transfer.downloads import download_artifact

    newest: artifact_pb2.Artifact | None = None
    while (page := call.next_page()) is not None:
        for artifact in call.accept((yield Request(page.method, page.request))):
            newest = artifact
    if newest is None:
        raise NotFound(f"{call.request.parent} has no {kind} yet")
    yield from download_artifact(newest, folder)
    return newest
