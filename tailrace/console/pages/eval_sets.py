"""Eval sets: imported versions with their first items, and imports."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tailrace.console.content.importing import send_upload
from tailrace.console.content.lines import MAX_LINES, eval_set_chunks, read_lines
from tailrace.console.content.samples import SHOWN_LINES, eval_samples, offset_of
from tailrace.console.rendering import client, render
from tailrace.console.uploads import Upload, upload
from tailrace.errors import AlreadyExists, InvalidArgument, ResourceExhausted
from tailrace.formats import catalog
from tailrace.v1 import evalset_pb2, evalset_pb2_grpc

_LIMIT = 500


async def eval_sets(request: Request) -> Response:
    """Show the newest version of every imported eval set, and the built-in ones."""
    return await _list(request)


async def _list(
    request: Request, status: int = 200, fields: dict[str, str] | None = None, error: Any = None
) -> Response:
    versions = [e async for e in client(request).list_eval_sets(limit=_LIMIT + 1)]
    return render(
        request,
        "eval_sets.html",
        status,
        eval_sets=versions[:_LIMIT],
        has_more=len(versions) > _LIMIT,
        built_in=list(catalog.EVAL_SETS),
        fields=fields or {},
        error=error,
    )


async def eval_set(request: Request) -> Response:
    """Show a version with some of its items."""
    plane = client(request)
    version = await plane.get_eval_set(f"evalsets/{request.path_params['name']}")
    offset = offset_of(request.query_params.get("offset", "0"))
    first = await read_lines(eval_set_chunks(plane, version.artifact), offset + SHOWN_LINES)
    return render(
        request,
        "eval_set.html",
        eval_set=version,
        samples=eval_samples(first.lines[offset:], offset),
        offset=offset,
        step=SHOWN_LINES,
        is_last=first.is_complete or offset + SHOWN_LINES >= MAX_LINES,
        versions=range(version.version, max(0, version.version - 10), -1),
    )


async def import_eval_set(request: Request, received: Upload) -> Response:
    """Import an uploaded file as the next version of an eval set."""
    fields = {name: value.strip() for name, value in received.fields.items()}
    header = evalset_pb2.ImportEvalSetHeader(
        eval_set_id=fields.get("id", ""), description=fields.get("description", "")
    )
    plane = client(request)
    method = evalset_pb2_grpc.EvalSetServiceStub(plane.channel).ImportEvalSet
    message = evalset_pb2.ImportEvalSetRequest
    try:
        version = await send_upload(plane, method, message, header, received.chunks)
    except (InvalidArgument, AlreadyExists, ResourceExhausted) as error:
        return await _list(request, 400, fields, error)
    return RedirectResponse(f"/{version.name}", 303)


ROUTES = [
    Route("/evalsets", eval_sets),
    upload("/evalsets", import_eval_set),
    Route("/evalsets/{name}", eval_set),
]
