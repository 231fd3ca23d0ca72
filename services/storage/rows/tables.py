"""All tables of the control plane; importing this module fills ``columns.metadata``."""

from __future__ import annotations

from services.storage.engine.columns import metadata
from services.storage.rows import (
    artifacts,
    attempts,
    baselines,
    evaluations,
    history,
    logs,
    model_aliases,
    models,
    outbox,
    requests,
    run_sources,
    runs,
    stages,
    versions,
    workers,
)
from services.storage.rows.access import audit, certificates, projects, quotas, tokens

__all__ = [
    "artifacts",
    "attempts",
    "audit",
    "baselines",
    "certificates",
    "evaluations",
    "history",
    "logs",
    "metadata",
    "model_aliases",
    "models",
    "outbox",
    "projects",
    "quotas",
    "requests",
    "run_sources",
    "runs",
    "stages",
    "tokens",
    "versions",
    "workers",
]
