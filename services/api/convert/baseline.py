"""Baselines."""

from __future__ import annotations

from services.api.convert.values import timestamp
from services.domain.baseline import Baseline
from tailrace.v1 import baseline_pb2


def baseline_to_proto(baseline: Baseline) -> baseline_pb2.Baseline:
    """Return the message of a baseline."""
    return baseline_pb2.Baseline(
        name=baseline.name,
        run=baseline.run,
        description=baseline.description,
        create_time=timestamp(baseline.create_time),
        update_time=timestamp(baseline.update_time),
    )
