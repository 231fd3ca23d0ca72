"""Servicer of BaselineService."""

from __future__ import annotations

from services.api.convert.baseline import baseline_to_proto
from services.api.rpc import Rpc, current_caller
from services.domain.baseline import parse_baseline_name
from services.domain.run import parse_run_name
from services.usecases.context import Context
from services.usecases.runs import baselines
from tailrace.v1 import baseline_pb2, baseline_pb2_grpc


class BaselineServicer(baseline_pb2_grpc.BaselineServiceServicer):
    """Servicer of ``protos/tailrace/v1/baseline.proto``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def SetBaseline(
        self, request: baseline_pb2.SetBaselineRequest, context: Rpc
    ) -> baseline_pb2.Baseline:
        """Point a baseline to a run."""
        return baseline_to_proto(
            await baselines.set_baseline(
                self._context,
                current_caller(),
                parse_baseline_name(request.name),
                parse_run_name(request.run, "run"),
                request.description,
            )
        )

    async def GetBaseline(
        self, request: baseline_pb2.GetBaselineRequest, context: Rpc
    ) -> baseline_pb2.Baseline:
        """Return a baseline."""
        baseline_id = parse_baseline_name(request.name)
        return baseline_to_proto(
            await baselines.get_baseline(self._context, current_caller(), baseline_id)
        )

    async def ListBaselines(
        self, request: baseline_pb2.ListBaselinesRequest, context: Rpc
    ) -> baseline_pb2.ListBaselinesResponse:
        """List baselines by name."""
        page, token = await baselines.list_baselines(
            self._context, current_caller(), size=request.page_size, token=request.page_token
        )
        return baseline_pb2.ListBaselinesResponse(
            baselines=map(baseline_to_proto, page), next_page_token=token
        )

    async def DeleteBaseline(
        self, request: baseline_pb2.DeleteBaselineRequest, context: Rpc
    ) -> baseline_pb2.DeleteBaselineResponse:
        """Delete a baseline; the run stays."""
        baseline_id = parse_baseline_name(request.name)
        await baselines.delete_baseline(self._context, current_caller(), baseline_id)
        return baseline_pb2.DeleteBaselineResponse()
