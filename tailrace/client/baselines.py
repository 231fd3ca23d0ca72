"""Calls of BaselineService."""

from __future__ import annotations

from tailrace.client.call import Paged, Unary, resource
from tailrace.v1 import baseline_pb2, baseline_pb2_grpc

_Stub = baseline_pb2_grpc.BaselineServiceStub


def set_baseline(name: str, run: str, *, description: str = "") -> Unary[baseline_pb2.Baseline]:
    """Point a baseline's name to a run; a repetition changes nothing.

    Raises:
        InvalidArgument: The name or the description is invalid.
        NotFound: There is no such run.
        FailedPrecondition: The run has not ``SUCCEEDED``.
    """
    request = baseline_pb2.SetBaselineRequest(
        name=resource("baselines", name), run=resource("runs", run), description=description
    )
    return Unary(lambda channel: _Stub(channel).SetBaseline, request)


def get_baseline(name: str) -> Unary[baseline_pb2.Baseline]:
    """Return a baseline.

    Raises:
        NotFound: There is no such baseline.
    """
    request = baseline_pb2.GetBaselineRequest(name=resource("baselines", name))
    return Unary(lambda channel: _Stub(channel).GetBaseline, request)


def list_baselines(
    *, page_size: int = 0, limit: int | None = None
) -> Paged[baseline_pb2.ListBaselinesResponse, baseline_pb2.Baseline]:
    """Iterate over baselines, sorted by name."""
    request = baseline_pb2.ListBaselinesRequest(page_size=page_size)
    return Paged(
        lambda channel: _Stub(channel).ListBaselines, request, lambda page: page.baselines, limit
    )


def delete_baseline(name: str) -> Unary[baseline_pb2.DeleteBaselineResponse]:
    """Delete a baseline's name; the run stays.

    Raises:
        NotFound: There is no such baseline.
    """
    request = baseline_pb2.DeleteBaselineRequest(name=resource("baselines", name))
    return Unary(lambda channel: _Stub(channel).DeleteBaseline, request)
