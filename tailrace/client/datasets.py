"""Calls of DatasetService."""

from __future__ import annotations

from pathlib import Path

from tailrace.client.call import Paged, Stream, Unary, Upload, file_upload, resource
from tailrace.v1 import dataset_pb2, dataset_pb2_grpc

_Stub = dataset_pb2_grpc.DatasetServiceStub


def seed_dataset(dataset_id: str) -> Unary[dataset_pb2.Dataset]:
    """Make a built-in dataset (``golden-v2``); twice changes nothing. Raises ``NotFound``."""
    request = dataset_pb2.SeedDatasetRequest(dataset_id=dataset_id)
    return Unary(lambda channel: _Stub(channel).SeedDataset, request)


def import_dataset(
    dataset_id: str, source: str | Path | bytes, *, description: str = ""
) -> Upload[dataset_pb2.Dataset]:
    """Import traces from a JSON Lines file, or its content as bytes, all or nothing.

    Content equal to the newest version's returns that version. Raises ``InvalidArgument`` (each bad
    line as a violation ``line 17``), ``ResourceExhausted``, ``OSError`` (the file).
    """
    header = dataset_pb2.ImportDatasetHeader(dataset_id=dataset_id, description=description)
    return Upload(
        lambda channel: _Stub(channel).ImportDataset,
        file_upload(dataset_pb2.ImportDatasetRequest, header, source),
    )


def get_dataset(name: str) -> Unary[dataset_pb2.Dataset]:
    """A dataset's newest version, or the one of ``name@version``. Raises ``NotFound``."""
    request = dataset_pb2.GetDatasetRequest(name=resource("datasets", name))
    return Unary(lambda channel: _Stub(channel).GetDataset, request)


def list_datasets(
    *, page_size: int = 0, limit: int | None = None
) -> Paged[dataset_pb2.ListDatasetsResponse, dataset_pb2.Dataset]:
    """The newest version of every dataset, by name."""
    request = dataset_pb2.ListDatasetsRequest(page_size=page_size)
    return Paged(
        lambda channel: _Stub(channel).ListDatasets, request, lambda page: page.datasets, limit
    )


def export_dataset(name: str) -> Stream[dataset_pb2.ExportDatasetResponse, bytes]:
    """A version's JSON lines, byte for byte as stored, in chunks.

    Raises ``NotFound``; ``Unavailable`` also when the connection breaks on the way, since what came
    before cannot be told from what would come again.
    """
    request = dataset_pb2.ExportDatasetRequest(name=resource("datasets", name))
    return Stream(
        lambda channel: _Stub(channel).ExportDataset,
        request,
        lambda _, response: [response.data],
        resumes=False,
    )
