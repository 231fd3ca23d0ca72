"""Artifacts of a run to download, and the facts of its origin."""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tailrace.cli.run_report import facts
from tailrace.client.aio import AsyncClient
from tailrace.console.pages.run import run_values
from tailrace.console.rendering import client, render
from tailrace.errors import from_rpc
from tailrace.formats.data.rollout import Rollout, read_rollouts
from tailrace.formats.stage_protocol import ArtifactKind
from tailrace.protomap import enum_word
from tailrace.transfer.aio import download_blob
from tailrace.v1 import artifact_pb2, artifact_pb2_grpc

_KIND = artifact_pb2.ArtifactKind.DESCRIPTOR
_PROVENANCE = "provenance.json"
_MOST_SHOWN = 1024 * 1024
"""Size of the largest file that a page shows."""

ROLLOUT_ROWS = 50
"""Maximum number of rollouts that a page shows."""


async def artifacts(request: Request) -> Response:
    """Show artifacts, provenance, digests, and the command that repeats the run."""
    values = await run_values(request)
    plane, run = client(request), values["run"]
    stored = [artifact async for artifact in plane.list_artifacts(run.name)]
    return render(
        request,
        "run_artifacts.html",
        **values,
        artifacts=[(enum_word(_KIND, artifact.kind), artifact) for artifact in stored],
        digests=list(facts.digests(run, stored)),
        provenance=await _provenance(plane, stored),
    )


async def download(request: Request) -> Response:
    """Send a file of one of the run's artifacts."""
    plane, path = client(request), request.path_params["path"]
    digest = request.path_params["artifact"]
    run = request.path_params["run"]
    # Only files of this run: a digest alone must not open those of another one.
    async for artifact in plane.list_artifacts(run):
        if artifact.name == f"artifacts/{digest}":
            for file in artifact.files:
                if file.path == path:
                    return await _sent(plane, file)
    raise HTTPException(404, "There is no such file.")


async def rollouts(request: Request) -> Response:
    """Show the answers that one step of the training sampled, with their rewards."""
    values = await run_values(request)
    plane, run = client(request), values["run"]
    kind = ArtifactKind.ROLLOUTS.value
    stored = {a.step: a async for a in plane.list_artifacts(run.name, kind=kind)}
    steps = sorted(stored)
    number = request.query_params.get("step", "")
    step = int(number) if number.isdecimal() and int(number) in stored else max(steps, default=0)
    answers = await _rollouts(plane, stored[step]) if steps else []
    place = steps.index(step) if steps else 0
    return render(
        request,
        "run_rollouts.html",
        **values,
        steps=steps,
        step=step,
        before=steps[place - 1] if place else None,
        after=steps[place + 1] if place + 1 < len(steps) else None,
        rollouts=answers[:ROLLOUT_ROWS],
        total=len(answers),
    )


async def _rollouts(plane: AsyncClient, artifact: artifact_pb2.Artifact) -> list[Rollout]:
    answers: list[Rollout] = []
    for file in artifact.files:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "rollouts"
            await download_blob(plane.channel, file.sha256, file.size_bytes, target)
            answers += read_rollouts(target)
    return answers


async def _provenance(plane: AsyncClient, stored: list[artifact_pb2.Artifact]) -> str:
    files = [f for artifact in stored for f in artifact.files if f.path == _PROVENANCE]
    if not files or files[-1].size_bytes > _MOST_SHOWN:
        return ""
    content = b"".join([part async for part in _content(plane, files[-1])])
    return content.decode("utf-8", errors="replace")


async def _sent(plane: AsyncClient, file: artifact_pb2.ArtifactFile) -> Response:
    content = _content(plane, file)
    # The first part is read before the response begins, so that a failure is a page.
    first = await anext(content, b"")

    async def parts() -> AsyncGenerator[bytes, None]:
        yield first
        async for part in content:
            yield part

    name = re.sub(r"[^A-Za-z0-9._-]", "_", file.path.rpartition("/")[2])
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Length": str(file.size_bytes),
    }
    return StreamingResponse(parts(), media_type="application/octet-stream", headers=headers)


async def _content(
    plane: AsyncClient, file: artifact_pb2.ArtifactFile
) -> AsyncGenerator[bytes, None]:
    # The stubs describe the blocking client.
    stub: Any = artifact_pb2_grpc.ArtifactServiceStub(plane.channel)
    request = artifact_pb2.ReadRequest(resource_name=f"blobs/{file.sha256}")
    try:
        async for response in stub.Read(request):
            yield response.data
    except grpc.RpcError as error:
        raise from_rpc(error, plane.server) from error


ROUTES = [
    Route("/runs/{run}/artifacts", artifacts),
    Route("/runs/{run}/artifacts/{artifact}/{path:path}", download),
    Route("/runs/{run}/rollouts", rollouts),
]
