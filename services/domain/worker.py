"""Workers, as the control plane sees them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.domain.errors import InvalidInput
from services.domain.names import id_violations


class WorkerState(enum.StrEnum):
    """State of a worker."""

    ONLINE = "ONLINE"
    """Its heartbeats arrive."""
    DRAINING = "DRAINING"
    """It finishes or hands back what it has and takes no more."""
    OFFLINE = "OFFLINE"
    """Its heartbeats stopped."""


@dataclass(frozen=True)
class Worker:
    """One worker process on an accelerator host."""

    worker_id: str
    """Its id, unique per process."""
    state: WorkerState
    """Where it is."""
    hostname: str
    """Name of its host."""
    pools: list[str]
    """Pools it serves."""
    slots: list[dict[str, Any]]
    """Its slots, plain data as in the API."""
    versions: dict[str, str]
    """Versions of what matters there."""
    judges: dict[str, str]
    """Judges it has beside the built-in ones, with their versions."""
    protocol_version: int
    """Version of the worker protocol it speaks."""
    heartbeats: int
    """Counts heartbeats; watched by the reconciler."""
    register_time: datetime
    """When it registered."""
    heartbeat_time: datetime
    """When its last heartbeat arrived."""
    broker_error: str = ""
    """Why it has no connection to the broker; empty if it has one."""


def worker_name(worker_id: str) -> str:
    """``workers/{worker}``."""
    return f"workers/{worker_id}"


def parse_worker_name(name: str, field: str = "worker") -> str:
    """The id of ``workers/{worker}``; raises :class:`InvalidInput` naming ``field``."""
    collection, _, worker_id = name.partition("/")
    if collection != "workers" or id_violations(field, worker_id):
        raise InvalidInput.field(field, f"{name[:200]!r} is not of the form workers/{{worker}}")
    return worker_id
