"""Servicer of ModelService."""

from __future__ import annotations

from services.api.convert.artifact import files_from_proto
from services.api.convert.model import lineage_to_proto, model_to_proto, move_to_proto
from services.api.rpc import Rpc, current_caller
from services.domain.content.model import Model
from services.domain.run import parse_run_name
from services.runtime.off_loop import run_off_loop
from services.usecases.content import model_deletion, models, promotion
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
        return await self._with_aliases(model)

    async def GetModel(self, request: model_pb2.GetModelRequest, context: Rpc) -> model_pb2.Model:
        """Return a version of a model with its lineage."""
        caller = current_caller()
        model = await models.get(self._context, caller, request.name)
        steps, moves = await promotion.history_of(self._context, caller, model)
        message = await self._with_aliases(model)
        message.lineage.extend(map(lineage_to_proto, steps))
        message.alias_history.extend(map(move_to_proto, moves))
        return message

    async def PromoteModel(
        self, request: model_pb2.PromoteModelRequest, context: Rpc
    ) -> model_pb2.Model:
        """Make a run's final model the next version of a model."""
        command = promotion.Promotion(
            run_id=parse_run_name(request.run, "run"),
            model_id=request.model_id,
            description=request.description,
            force=request.force,
            reason=request.reason,
        )
        model = await promotion.promote(self._context, current_caller(), command)
        return await self._with_aliases(model)

    async def SetModelAlias(
        self, request: model_pb2.SetModelAliasRequest, context: Rpc
    ) -> model_pb2.Model:
        """Move an alias of a model to a version."""
        model = await promotion.set_alias(
            self._context, current_caller(), request.name, request.alias, request.version
        )
        return await self._with_aliases(model)

    async def DeleteModel(
        self, request: model_pb2.DeleteModelRequest, context: Rpc
    ) -> model_pb2.DeleteModelResponse:
        """Delete a version of a model, or all of them."""
        await model_deletion.delete(
            self._context, current_caller(), request.name, allow_missing=request.allow_missing
        )
        return model_pb2.DeleteModelResponse()

    async def ListModels(
        self, request: model_pb2.ListModelsRequest, context: Rpc
    ) -> model_pb2.ListModelsResponse:
        """List models, newest first."""
        page, token = await models.list_newest(
            self._context, current_caller(), size=request.page_size, token=request.page_token
        )
        aliases = await promotion.aliases_of(self._context, current_caller(), page)
        messages = [
            model_to_proto(model, aliases.get((model.model_id, model.version), []))
            for model in page
        ]
        return model_pb2.ListModelsResponse(models=messages, next_page_token=token)

    async def _with_aliases(self, model: Model) -> model_pb2.Model:
        aliases = await promotion.aliases_of(self._context, current_caller(), [model])
        return model_to_proto(model, aliases.get((model.model_id, model.version), []))
