"""Servicer of EvalSetService."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.api.convert.eval_set import eval_set_to_proto
from services.api.rpc import Rpc, Uploads, current_caller, upload_data
from services.domain.content.eval_set import EvalSetHeader
from services.domain.errors import InvalidInput
from services.usecases.content import eval_sets
from services.usecases.context import Context
from tailrace.v1 import evalset_pb2, evalset_pb2_grpc


class EvalSetServicer(evalset_pb2_grpc.EvalSetServiceServicer):
    """Servicer of ``protos/tailrace/v1/evalset.proto``."""

    def __init__(self, context: Context, uploads: Uploads) -> None:
        self._context = context
        self._uploads = uploads

    async def ImportEvalSet(
        self,
        request_iterator: AsyncIterator[evalset_pb2.ImportEvalSetRequest],
        context: Rpc,
    ) -> evalset_pb2.EvalSet:
        """Import eval items from JSON lines, all or nothing."""
        with self._uploads.open(request_iterator) as requests:
            first = await anext(requests, None)
            if first is None or first.WhichOneof("payload") != "header":
                raise InvalidInput.field("header", "must be the first message")
            header = EvalSetHeader(first.header.eval_set_id, first.header.description)
            eval_set = await eval_sets.import_lines(
                self._context, current_caller(), header, upload_data(requests)
            )
        return eval_set_to_proto(eval_set)

    async def GetEvalSet(
        self, request: evalset_pb2.GetEvalSetRequest, context: Rpc
    ) -> evalset_pb2.EvalSet:
        """Return an eval set version."""
        return eval_set_to_proto(
            await eval_sets.VERSIONS.get(self._context, current_caller(), request.name)
        )

    async def ListEvalSets(
        self, request: evalset_pb2.ListEvalSetsRequest, context: Rpc
    ) -> evalset_pb2.ListEvalSetsResponse:
        """List the newest version of every imported eval set."""
        page, token = await eval_sets.VERSIONS.list_newest(
            self._context, current_caller(), size=request.page_size, token=request.page_token
        )
        return evalset_pb2.ListEvalSetsResponse(
            eval_sets=[eval_set_to_proto(eval_set) for eval_set in page], next_page_token=token
        )
