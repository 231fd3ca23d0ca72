"""Servicer of DatasetService."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.api.convert.dataset import dataset_to_proto, header_from_proto
from services.api.rpc import Rpc, Uploads, current_caller, upload_data
from services.domain.errors import InvalidInput
from services.usecases.content import datasets
from services.usecases.context import Context
from tailrace.v1 import dataset_pb2, dataset_pb2_grpc


class DatasetServicer(dataset_pb2_grpc.DatasetServiceServicer):
    """Servicer of ``protos/tailrace/v1/dataset.proto``."""

    def __init__(self, context: Context, uploads: Uploads) -> None:
        self._context = context
        self._uploads = uploads

    async def SeedDataset(
        self, request: dataset_pb2.SeedDatasetRequest, context: Rpc
    ) -> dataset_pb2.Dataset:
        """Create a built-in dataset."""
        return dataset_to_proto(
            await datasets.seed(self._context, current_caller(), request.dataset_id)
        )

    async def ImportDataset(
        self,
        request_iterator: AsyncIterator[dataset_pb2.ImportDatasetRequest],
        context: Rpc,
    ) -> dataset_pb2.Dataset:
        """Import JSON lines of one kind, all or nothing."""
        with self._uploads.open(request_iterator) as requests:
            first = await anext(requests, None)
            if first is None or first.WhichOneof("payload") != "header":
                raise InvalidInput.field("header", "must be the first message")
            header = header_from_proto(first.header)
            dataset = await datasets.import_lines(
                self._context, current_caller(), header, upload_data(requests)
            )
        return dataset_to_proto(dataset)

    async def GetDataset(
        self, request: dataset_pb2.GetDatasetRequest, context: Rpc
    ) -> dataset_pb2.Dataset:
        """Return a dataset version."""
        return dataset_to_proto(
            await datasets.VERSIONS.get(self._context, current_caller(), request.name)
        )

    async def ListDatasets(
        self, request: dataset_pb2.ListDatasetsRequest, context: Rpc
    ) -> dataset_pb2.ListDatasetsResponse:
        """List the newest version of every dataset."""
        page, token = await datasets.VERSIONS.list_newest(
            self._context, current_caller(), size=request.page_size, token=request.page_token
        )
        return dataset_pb2.ListDatasetsResponse(
            datasets=[dataset_to_proto(dataset) for dataset in page], next_page_token=token
        )

    async def ExportDataset(
        self, request: dataset_pb2.ExportDatasetRequest, context: Rpc
    ) -> AsyncIterator[dataset_pb2.ExportDatasetResponse]:
        """Stream a version's JSON lines, byte for byte as stored."""
        async for chunk in datasets.export(self._context, current_caller(), request.name):
            yield dataset_pb2.ExportDatasetResponse(data=chunk)
