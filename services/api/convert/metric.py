"""Metric points."""

from __future__ import annotations

from services.api.convert.values import plain, time, timestamp
from services.domain.errors import InvalidInput
from services.domain.event import MetricPoint
from tailrace.formats.limits import MAX_NAME
from tailrace.v1 import run_pb2


def metric_to_proto(point: MetricPoint) -> run_pb2.MetricPoint:
    """Return the message of a metric point."""
    return run_pb2.MetricPoint(
        name=point.name, step=point.step, value=point.value, time=timestamp(point.time)
    )


def metric_from_proto(point: run_pb2.MetricPoint, field: str) -> MetricPoint:
    """Return a metric point. Raises ``InvalidInput`` below ``field``."""
    data = plain(point, field)
    name = data.get("name", "")
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidInput.field(f"{field}.name", f"must have 1 to {MAX_NAME} characters")
    return MetricPoint(name, point.step, point.value, time(point.time, f"{field}.time"))
