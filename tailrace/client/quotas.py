"""Calls of QuotaService."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from tailrace.client.call import Unary
from tailrace.protomap import enum_number
from tailrace.v1 import quota_pb2, quota_pb2_grpc

_Stub = quota_pb2_grpc.QuotaServiceStub


def get_quotas(project: str = "") -> Unary[quota_pb2.Quotas]:
    """Return the quotas of a project with their use.

    Args:
        project: Id of the project (default: the caller's).

    Raises:
        NotFound: The project is another one, and the caller is not an administrator.
    """
    request = quota_pb2.GetQuotasRequest(name=_name(project))
    return Unary(lambda channel: _Stub(channel).GetQuotas, request)


def set_quotas(
    limits: Mapping[str, int | None], *, reset: Collection[str] = (), project: str = ""
) -> Unary[quota_pb2.Quotas]:
    """Change quotas of a project; the others stay.

    Args:
        limits: Limits by quota (``running_runs``); ``None`` for no limit.
        reset: Quotas that get the default of the control plane again.
        project: Id of the project (default: the caller's).

    Raises:
        InvalidArgument: A limit is out of range, or a quota is changed twice.
        PermissionDenied: The caller is not an administrator.
    """
    changes = [
        quota_pb2.QuotaChange(kind=_kind(quota), unlimited=True)
        if limit is None
        else quota_pb2.QuotaChange(kind=_kind(quota), limit=limit)
        for quota, limit in limits.items()
    ]
    changes += [quota_pb2.QuotaChange(kind=_kind(quota), reset=True) for quota in reset]
    request = quota_pb2.SetQuotasRequest(name=_name(project), changes=changes)
    return Unary(lambda channel: _Stub(channel).SetQuotas, request)


def sum_usage(
    by: str,
    *,
    label: str = "",
    start_time: datetime | None = None,
    end_time: datetime | None = None,
) -> Unary[quota_pb2.SumUsageResponse]:
    """Sum up slot-seconds, tokens and stored bytes in a window of time.

    Args:
        by: ``project``, ``label`` or ``user``.
        label: Name of the label, with ``label``.
        start_time: Begin of the window, with a time zone (default: the first use).
        end_time: End of the window, with a time zone (default: now).

    Raises:
        InvalidArgument: A field is invalid.
    """
    group: Any = enum_number(quota_pb2.UsageGroup.DESCRIPTOR, by)
    request = quota_pb2.SumUsageRequest(group_by=group, label=label)
    for field, moment in (("start_time", start_time), ("end_time", end_time)):
        if moment is not None:
            getattr(request, field).FromDatetime(moment)
    return Unary(lambda channel: _Stub(channel).SumUsage, request)


def _name(project: str) -> str:
    project = project.removeprefix("projects/")
    return f"projects/{project}/quotas" if project else ""


def _kind(quota: str) -> Any:
    # Numbers of an enum have separate types in the stubs.
    return enum_number(quota_pb2.QuotaKind.DESCRIPTOR, quota)
