"""Servicer of ModelService."""

from __future__ import annotations

from services.api.convert.artifact import files_from_proto
from services.api.convert.model import model_to_proto
from services.api.rpc import Rpc, current_caller
from services.runtime.off_loop import run_off_loop
from services.usecases.content import models
from services.usecases.context import Context
from tailrace.v1 import model_pb2, model_pb2_grpc


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """Servicer of ``protos/tailrace/v1/model.proto``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ImportModel(
        self, request: model_pb2.ImportModelRequest, context: Rpc
    ) -> model_pb2.Model:
        """Register a model folder whose files are uploaded."""
        files = await run_off_loop(request.ByteSize(), files_from_proto, request.files)
        model = await models.import_folder(
            self._context, current_caller(), request.model_id, request.description, files
        )
        return model_to_proto(model)

    async def GetModel(self, request: model_pb2.GetModelRequest, context: Rpc) -> model_pb2.Model:
        """Return a model."""
        return model_to_proto(await models.get(self._context, current_caller(), request.name))

    async def ListModels(
        self, request: model_pb2.ListModelsRequest, context: Rpc
    ) -> model_pb2.ListModelsResponse:
        """List models, newest first."""
        page, token = await models.list_newest(
            self._context, current_caller(), size=request.page_size, token=request.page_token
        )
        return model_pb2.ListModelsResponse(
            models=[model_to_proto(model) for model in page], next_page_token=token
        )
