"""Names that other programs rely on: Celery's, entry points, built-in words, metrics."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from services.metrics import Metrics
from tailrace.formats import catalog, dispatch
from tailrace.formats.model.families import FAMILIES
from tailrace.formats.spec.judge_spec import JUDGES
from tailrace.formats.spec.run_spec import StageKind
from training.judges import registry as judge_registry
from workers.app import make_app
from workers.metrics import WorkerMetrics
from workers.settings import Settings

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def text() -> str:
    """Return the names of Celery's side, of the package's, and of what is built in."""
    sections = {
        "Celery": _celery(),
        "entry points": _entry_points(),
        "built in": _catalog(),
    }
    lines: list[str] = []
    for title, entries in sections.items():
        lines += [title, *(f"  {entry}" for entry in entries), ""]
    return "\n".join(lines)


def _celery() -> Iterator[str]:
    settings = Settings(pools=("cpu",), broker_url="redis://127.0.0.1:6379/0")
    (queue,) = make_app(settings, "socket").conf.task_queues
    exchange = queue.exchange
    yield f"exchange: {exchange.name} ({exchange.type}, durable {exchange.durable})"
    yield f"queue of pool cpu: {queue.name} (durable {queue.durable}, {queue.queue_arguments})"
    yield f"routing key of pool cpu: {queue.routing_key}"
    yield from (f"task: {dispatch.task_name(kind)}" for kind in StageKind)
    task_id = dispatch.TaskId("uid", "train", 1)
    yield f"task id: {task_id}"
    yield f"task arguments: {dispatch.task_arguments(task_id, 'cpu')}"
    yield f"node: {dispatch.node_name('w1')}"
    yield f"protocol version: {dispatch.PROTOCOL_VERSION}"


def _entry_points() -> Iterator[str]:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    yield from (f"script: {name}" for name in sorted(project.get("scripts", {})))
    for group, points in sorted(project.get("entry-points", {}).items()):
        yield from (f"{group}: {name}" for name in sorted(points))
    yield f"group of judges from outside: {judge_registry.GROUP}"
    yield from (f"extra: {name}" for name in sorted(project["optional-dependencies"]))


def _catalog() -> Iterator[str]:
    yield from (f"preset: {name}, {size} tokens" for name, size in catalog.PRESETS.items())
    yield from (f"model type: {name}" for name in sorted(FAMILIES))
    yield from (f"judge: {name} {version}" for name, version in JUDGES.items())
    yield f"stage versions: {catalog.stage_versions_text()}"
    yield from (f"eval set: {name} {sha256}" for name, sha256 in catalog.EVAL_SETS.items())
    yield from (f"eval set: {name}" for name in catalog.DATASET_EVAL_SETS)
    yield from (f"chat template: {name}" for name in catalog.CHAT_TEMPLATES)


def metrics_text() -> str:
    """Return every Prometheus metric with its type and labels."""
    idle = cast(Any, None)  # Gauges ask the worker's parts only when they are read.
    registries = {
        "control plane": Metrics().registry,
        "worker": WorkerMetrics(1, idle, idle).registry,
    }
    lines: list[str] = []
    for title, registry in registries.items():
        lines += [title, *sorted(_metrics(registry)), ""]
    return "\n".join(lines)


def _metrics(registry: CollectorRegistry) -> Iterator[str]:
    for collector in registry._collector_to_names:
        assert isinstance(collector, MetricWrapperBase)
        (family,) = collector.describe()
        labels = ", ".join(collector._labelnames)
        yield f"  {family.name} {family.type} ({labels}){_buckets(collector)}"


def _buckets(collector: MetricWrapperBase) -> str:
    bounds = getattr(collector, "_upper_bounds", None)
    return "" if bounds is None else f" buckets {', '.join(f'{bound:g}' for bound in bounds)}"
