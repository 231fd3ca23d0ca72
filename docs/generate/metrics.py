"""The page of Prometheus metrics, from the registries of the control plane and of a worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from prometheus_client import CollectorRegistry

from docs.generate import markdown
from services.metrics import Metrics
from workers.metrics import WorkerMetrics

_INTRODUCTION = """
The control plane serves `/metrics` on `TAILRACE_METRICS_PORT`, a worker on
`TAILRACE_WORKER_METRICS_PORT`; without these settings neither serves any
([configuration](configuration.md)). A histogram is exported as `…_bucket`, `…_sum` and `…_count`.
"""


def page() -> str:
    """Return the page."""
    # Neither registry is read here, so that a worker's sources of values may be missing.
    absent = cast(Any, None)
    return markdown.page(
        "Metrics",
        _INTRODUCTION,
        ["## Control plane", "", *_families(Metrics().registry)],
        ["## Worker", "", *_families(WorkerMetrics(0, absent, absent).registry)],
    )


def _families(registry: CollectorRegistry) -> Iterator[str]:
    collectors: list[Any] = list(registry._collector_to_names)
    yield from markdown.table(
        ("metric", "type", "labels", "meaning"),
        (
            (
                f"`{collector._name}{'_total' if collector._type == 'counter' else ''}`",
                collector._type,
                ", ".join(f"`{label}`" for label in collector._labelnames) or "none",
                collector._documentation,
            )
            for collector in collectors
        ),
    )
