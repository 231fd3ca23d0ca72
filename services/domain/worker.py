"""Workers, as the control plane sees them."""

from __future__ import annotations

import enum
import hashlib
import hmac
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
    instance_digest: str
    """:func:`digest` of the instance that its name is bound to; empty if it is bound to none."""
    secret_digest: str
    """:func:`digest` of the secret that it got when it registered."""
    drained: bool
    """Whether an operator's drain is in force."""
    broker_error: str = ""
    """Fault of its broker connection; empty while it is connected."""

    def is_instance(self, instance_id: str, hostname: str) -> bool:
        """Return whether this is the worker's own instance, on its host.

        A copied work folder, as in an image of a machine, has the same id on several hosts.
        """
        return self.hostname == hostname and _has(self.instance_digest, instance_id)

    def opens(self, secret: str) -> bool:
        """Return whether this is the secret that the worker got when it registered."""
        return _has(self.secret_digest, secret)


def digest(secret: str) -> str:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _has(stored: str, secret: str) -> bool:
    return hmac.compare_digest(stored, digest(secret))


def worker_name(worker_id: str) -> str:
    """``workers/{worker}``."""
    return f"workers/{worker_id}"


def parse_worker_name(name: str, field: str = "worker") -> str:
    """The id of ``workers/{worker}``; raises :class:`InvalidInput` naming ``field``."""
    collection, _, worker_id = name.partition("/")
    if collection != "workers" or id_violations(field, worker_id):
        raise InvalidInput.field(field, f"{name[:200]!r} is not of the form workers/{{worker}}")
    return worker_id
