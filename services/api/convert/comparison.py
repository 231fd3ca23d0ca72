"""Comparisons of runs."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format, struct_pb2

from services.api.convert.metric import metric_to_proto
from services.api.convert.run import run_to_proto
from services.api.convert.shorten import shorten
from services.usecases.runs.compare import Comparison
from tailrace.protomap import from_stored
from tailrace.v1 import run_pb2


def comparison_to_proto(comparison: Comparison) -> run_pb2.CompareRunsResponse:
    """Return the message of a comparison."""
    message = run_pb2.CompareRunsResponse(
        runs=[run_to_proto(view) for view in comparison.runs],
        spec_differences=[
            run_pb2.SpecDifference(path=path, values=map(_value, values))
            for path, values in comparison.spec_differences.items()
        ],
        metrics=[
            run_pb2.MetricComparison(name=name, values=map(_value, values))
            for name, values in comparison.metrics.items()
        ],
        curves=[
            run_pb2.MetricCurve(
                run=curve.run, name=curve.name, points=map(metric_to_proto, curve.points)
            )
            for curve in comparison.curves
        ],
        verdicts=[
            from_stored(run_pb2.VerdictComparison, verdict) for verdict in comparison.verdicts
        ],
    )
    return shorten(message)


def _value(value: Any) -> struct_pb2.Value:
    return json_format.ParseDict(value, struct_pb2.Value())
