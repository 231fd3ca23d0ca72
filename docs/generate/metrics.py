"""The page of Prometheus metrics, from the registries of the programs that serve some."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from prometheus_client import CollectorRegistry

from docs.generate import markdown
from services.metrics import Metrics
from training.serving.api.metrics import ServingMetrics
from workers.metrics import WorkerMetrics

_INTRODUCTION = """
The control plane serves `/metrics` on `TAILRACE_METRICS_PORT`, a worker on
`TAILRACE_WORKER_METRICS_PORT`; without these settings neither serves any
([configuration](configuration.md)). `tailrace models serve` serves `/metrics` on its own port. A
histogram is exported as `…_bucket`, `…_sum` and `…_count`.
"""


def page() -> str:
    """Return the page."""
    # No registry is read here, so that sources of values may be missing.
    absent = cast(Any, None)
    return markdown.page(
        "Metrics",
        _INTRODUCTION,
        ["## Control plane", "", *_families(Metrics().registry)],
        ["## Worker", "", *_families(WorkerMetrics(0, absent, absent).registry)],
        ["## Model server", "", *_families(ServingMetrics(absent).registry)],
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
