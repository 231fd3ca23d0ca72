"""Datasets: their versions, first lines and statistics, and imports."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tailrace.client.aio import AsyncClient
from tailrace.console.changes import change, text
from tailrace.console.content.importing import send_upload
from tailrace.console.content.lines import (
    MAX_BYTES,
    MAX_LINES,
    dataset_chunks,
    eval_set_chunks,
    read_lines,
)
from tailrace.console.content.samples import SHOWN_LINES, dataset_samples, offset_of
from tailrace.console.content.statistics import measure_lines
from tailrace.console.rendering import client, is_part, render
from tailrace.console.uploads import Upload, upload
from tailrace.datasets.content import DatasetError
from tailrace.datasets.inspection.stats import QUANTILES
from tailrace.errors import AlreadyExists, InvalidArgument, ResourceExhausted, TailraceError
from tailrace.formats.data.eval_item import EvalItem, parse_eval_items
from tailrace.formats.data.golden import NAME as GOLDEN
from tailrace.formats.data.jsonl import FormatError
from tailrace.formats.data.record import DatasetKind
from tailrace.protomap import enum_number, enum_word
from tailrace.v1 import dataset_pb2, dataset_pb2_grpc

_LIMIT = 500
_KIND = dataset_pb2.DatasetKind.DESCRIPTOR


def kind_of(dataset: dataset_pb2.Dataset) -> DatasetKind:
    """Return the kind of a dataset's lines."""
    return DatasetKind(enum_word(_KIND, dataset.kind))


async def datasets(request: Request) -> Response:
    """Show the newest version of every dataset."""
    return await _list(request)


async def _list(
    request: Request, status: int = 200, fields: dict[str, str] | None = None, error: Any = None
) -> Response:
    names = [d async for d in client(request).list_datasets(limit=_LIMIT + 1)]
    return render(
        request,
        "datasets.html",
        status,
        datasets=[(d, kind_of(d)) for d in names[:_LIMIT]],
        has_more=len(names) > _LIMIT,
        kinds=list(DatasetKind),
        built_in=GOLDEN,
        fields=fields or {},
        error=error,
    )


async def dataset(request: Request) -> Response:
    """Show a version with some of its lines."""
    plane = client(request)
    version = await plane.get_dataset(f"datasets/{request.path_params['name']}")
    offset = offset_of(request.query_params.get("offset", "0"))
    first = await read_lines(dataset_chunks(plane, version.name), offset + SHOWN_LINES)
    kind = kind_of(version)
    return render(
        request,
        "dataset.html",
        dataset=version,
        kind=kind,
        samples=dataset_samples(first.lines[offset:], kind, offset),
        offset=offset,
        step=SHOWN_LINES,
        is_last=first.is_complete or offset + SHOWN_LINES >= MAX_LINES,
        versions=range(version.version, max(0, version.version - 10), -1),
        eval_sets=[e.eval_set_id async for e in plane.list_eval_sets(limit=_LIMIT)],
        against=request.query_params.get("against", ""),
    )


async def statistics(request: Request) -> Response:
    """Show the statistics of a version, measured over its first lines."""
    plane = client(request)
    version = await plane.get_dataset(f"datasets/{request.path_params['name']}")
    against = request.query_params.get("against", "")
    first = await read_lines(dataset_chunks(plane, version.name))
    try:
        items = await _eval_items(plane, against) if against else None
        measured = await measure_lines(first, items)
    except (DatasetError, FormatError) as error:
        raise HTTPException(409, str(error)) from error
    return render(
        request,
        "dataset_statistics_part.html" if is_part(request) else "dataset_statistics.html",
        dataset=version,
        measured=measured,
        against=against,
        quantiles=list(QUANTILES),
        max_lines=MAX_LINES,
        max_bytes=MAX_BYTES,
    )


async def _eval_items(plane: AsyncClient, name: str) -> list[EvalItem]:
    eval_set = await plane.get_eval_set(name)
    first = await read_lines(eval_set_chunks(plane, eval_set.artifact))
    return parse_eval_items(first.lines)


async def import_dataset(request: Request, received: Upload) -> Response:
    """Import an uploaded file as the next version of a dataset."""
    fields = {name: value.strip() for name, value in received.fields.items()}
    kind: Any = enum_number(_KIND, fields["kind"]) if fields.get("kind") in set(DatasetKind) else 0
    header = dataset_pb2.ImportDatasetHeader(
        dataset_id=fields.get("id", ""), description=fields.get("description", ""), kind=kind
    )
    plane = client(request)
    method = dataset_pb2_grpc.DatasetServiceStub(plane.channel).ImportDataset
    message = dataset_pb2.ImportDatasetRequest
    try:
        version = await send_upload(plane, method, message, header, received.chunks)
    except (InvalidArgument, AlreadyExists, ResourceExhausted) as error:
        return await _list(request, 400, fields, error)
    return RedirectResponse(f"/{version.name}", 303)


async def seed_dataset(request: Request, form: FormData) -> Response:
    """Create a built-in dataset."""
    try:
        version = await client(request).seed_dataset(text(form, "id"))
    except TailraceError as error:
        return await _list(request, 400, error=error)
    return RedirectResponse(f"/{version.name}", 303)


ROUTES = [
    Route("/datasets", datasets),
    upload("/datasets", import_dataset),
    change("/datasets/seed", seed_dataset),
    Route("/datasets/{name}/statistics", statistics),
    Route("/datasets/{name}", dataset),
]
