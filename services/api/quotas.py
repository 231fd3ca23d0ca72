"""Servicer of QuotaService."""

from __future__ import annotations

from services.api.convert.quota import changes_of, group_of, quotas_to_proto, usage_to_proto
from services.api.convert.values import time
from services.api.rpc import Rpc, current_caller
from services.domain.quota import parse_quotas_name
from services.usecases.context import Context
from services.usecases.quotas import manage, usage
from tailrace.v1 import quota_pb2, quota_pb2_grpc


class QuotaServicer(quota_pb2_grpc.QuotaServiceServicer):
    """Servicer of ``protos/tailrace/v1/quota.proto``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def GetQuotas(
        self, request: quota_pb2.GetQuotasRequest, context: Rpc
    ) -> quota_pb2.Quotas:
        """Return the quotas of a project."""
        caller = current_caller()
        project = parse_quotas_name(request.name, caller.project)
        return quotas_to_proto(project, await manage.get_quotas(self._context, caller, project))

    async def SetQuotas(
        self, request: quota_pb2.SetQuotasRequest, context: Rpc
    ) -> quota_pb2.Quotas:
        """Change quotas of a project."""
        caller = current_caller()
        project = parse_quotas_name(request.name, caller.project)
        changes = changes_of(request.changes)
        states = await manage.set_quotas(self._context, caller, project, changes)
        return quotas_to_proto(project, states)

    async def SumUsage(
        self, request: quota_pb2.SumUsageRequest, context: Rpc
    ) -> quota_pb2.SumUsageResponse:
        """Sum up what was used in a window of time."""
        start, end = (
            time(getattr(request, field), field) if request.HasField(field) else None
            for field in ("start_time", "end_time")
        )
        entries, omitted = await usage.sum_usage(
            self._context,
            current_caller(),
            group_of(request.group_by),
            label=request.label,
            start=start,
            end=end,
        )
        return quota_pb2.SumUsageResponse(usage=map(usage_to_proto, entries), omitted=omitted)
