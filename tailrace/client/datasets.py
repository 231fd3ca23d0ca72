"""Calls of DatasetService."""

from __future__ import annotations

from pathlib import Path

from tailrace.client.call import Paged, Stream, Unary, Upload, file_upload, resource
from tailrace.v1 import dataset_pb2, dataset_pb2_grpc

_Stub = dataset_pb2_grpc.DatasetServiceStub


def seed_dataset(dataset_id: str) -> Unary[dataset_pb2.Dataset]:
    """Create a built-in dataset (``golden-v2``); a repetition changes nothing.

    Raises:
        NotFound: There is no such built-in dataset.
    """
    request = dataset_pb2.SeedDatasetRequest(dataset_id=dataset_id)
    return Unary(lambda channel: _Stub(channel).SeedDataset, request)


def import_dataset(
    dataset_id: str, source: str | Path | bytes, *, description: str = ""
) -> Upload[dataset_pb2.Dataset]:
    """Import traces, all or nothing, as the next version of a dataset.

    Content equal to that of the newest version returns that version.

    Args:
        dataset_id: Id of the dataset.
        source: Path of a JSON Lines file, or its content as bytes.
        description: Free text.

    Raises:
        InvalidArgument: Lines that are not traces, each as a violation of ``line 17``.
        ResourceExhausted: The content is larger than the server allows.
        OSError: The file cannot be read.
    """
    header = dataset_pb2.ImportDatasetHeader(dataset_id=dataset_id, description=description)
    return Upload(
        lambda channel: _Stub(channel).ImportDataset,
        file_upload(dataset_pb2.ImportDatasetRequest, header, source),
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
