"""Calls of DatasetService."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tailrace.client.call import Paged, Stream, Unary, Upload, file_upload, resource
from tailrace.formats.data.record import DatasetKind
from tailrace.protomap import enum_number
from tailrace.v1 import dataset_pb2, dataset_pb2_grpc

_KIND = dataset_pb2.DatasetKind.DESCRIPTOR
_Stub = dataset_pb2_grpc.DatasetServiceStub


def seed_dataset(dataset_id: str) -> Unary[dataset_pb2.Dataset]:
    """Create a built-in dataset (``golden-v2``); a repetition changes nothing.

    Raises:
        NotFound: There is no such built-in dataset.
    """
    request = dataset_pb2.SeedDatasetRequest(dataset_id=dataset_id)
    return Unary(lambda channel: _Stub(channel).SeedDataset, request)


def import_dataset(
    dataset_id: str,
    source: str | Path | bytes,
    *,
    description: str = "",
    kind: DatasetKind | str | None = None,
    lineage: Mapping[str, str] | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Upload[dataset_pb2.Dataset]:
    """Import lines of one kind, all or nothing, as the next version of a dataset.

    Content equal to that of the newest version returns that version. Other files, such as Parquet
    or chats in other forms, are converted by :func:`tailrace.datasets.convert_file` before.

    Args:
        dataset_id: Id of the dataset.
        source: Path of a JSON Lines file, or its content as bytes.
        description: Free text.
        kind: Kind of the lines, such as ``messages`` (default: that of the first line).
        lineage: Source of a dataset that was derived from a run's predictions: ``run``, ``judge``,
            ``judge_version`` and ``where``.
        on_bytes: Function that is called with the number of bytes sent so far, on a thread of the
            transfer; a repeated upload begins at 0.

    Raises:
        InvalidArgument: Lines that are not of the kind, each as a violation of ``line 17``.
        ResourceExhausted: The content is larger than the server allows.
        OSError: The file cannot be read.
    """
    number: Any = enum_number(_KIND, str(kind)) if kind else 0
    header = dataset_pb2.ImportDatasetHeader(
        dataset_id=dataset_id,
        description=description,
        kind=number,
        lineage=dataset_pb2.DatasetLineage(**lineage) if lineage else None,
    )
    return Upload(
        lambda channel: _Stub(channel).ImportDataset,
        file_upload(dataset_pb2.ImportDatasetRequest, header, source, on_bytes),
    )


def get_dataset(name: str) -> Unary[dataset_pb2.Dataset]:
    """Return a dataset's newest version, or the one of ``name@version``.

    Raises:
        NotFound: There is no such dataset or version.
    """
    request = dataset_pb2.GetDatasetRequest(name=resource("datasets", name))
    return Unary(lambda channel: _Stub(channel).GetDataset, request)


def list_datasets(
    *, page_size: int = 0, limit: int | None = None
) -> Paged[dataset_pb2.ListDatasetsResponse, dataset_pb2.Dataset]:
    """Iterate over the newest version of every dataset, sorted by name."""
    request = dataset_pb2.ListDatasetsRequest(page_size=page_size)
    return Paged(
        lambda channel: _Stub(channel).ListDatasets, request, lambda page: page.datasets, limit
    )


def export_dataset(name: str) -> Stream[dataset_pb2.ExportDatasetResponse, bytes]:
    """Yield a version's JSON lines in chunks, byte for byte as stored.

    Raises:
        NotFound: There is no such dataset or version.
        Unavailable: The control plane is away, or the connection broke during the transfer: a
            repetition would yield the first chunks again.
    """
    request = dataset_pb2.ExportDatasetRequest(name=resource("datasets", name))
    return Stream(
        lambda channel: _Stub(channel).ExportDataset,
        request,
        lambda _, response: [response.data],
        resumes=False,
    )
