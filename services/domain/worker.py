"""Workers as the control plane knows them."""

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
    """Heartbeats arrive."""
    DRAINING = "DRAINING"
    """The worker finishes or releases its stages and takes no more."""
    OFFLINE = "OFFLINE"
    """Heartbeats stopped."""


@dataclass(frozen=True)
class Worker:
    """One worker process on an accelerator host."""

    worker_id: str
    """Id, unique per process."""
    state: WorkerState
    """Current state."""
    hostname: str
    """Name of the host."""
    pools: list[str]
    """Pools that the worker serves."""
    slots: list[dict[str, Any]]
    """Slots, plain data as in the API."""
    versions: dict[str, str]
    """Versions of the worker's packages and stages."""
    judges: dict[str, str]
    """Judges in addition to the built-in ones, with their versions."""
    protocol_version: int
    """Version of the worker protocol."""
    heartbeats: int
    """Number of heartbeats, watched by the reconciler."""
    register_time: datetime
    """Time of registration."""
    heartbeat_time: datetime
    """Time of the last heartbeat."""
    instance_digest: str
    """:func:`digest` of the instance that the name is bound to; empty if it is bound to none."""
    secret_digest: str
    """:func:`digest` of the secret from the registration."""
    drained: bool
    """True while an operator's drain is in force."""
    broker_error: str = ""
    """Fault of the broker connection; empty while it is connected."""

    def is_instance(self, instance_id: str, hostname: str) -> bool:
        """Return whether an instance on a host is the one that the name is bound to.

        A copied work folder, as in a machine image, has the same id on several hosts.
        """
        return self.hostname == hostname and _is_digest(self.instance_digest, instance_id)

    def has_secret(self, secret: str) -> bool:
        """Return whether a secret is the one from the worker's registration."""
        return _is_digest(self.secret_digest, secret)


def digest(secret: str) -> str:
    """Return the digest of a secret, for storage."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _is_digest(stored: str, secret: str) -> bool:
    return hmac.compare_digest(stored, digest(secret))


def worker_name(worker_id: str) -> str:
    """Return the resource name ``workers/{worker}``."""
    return f"workers/{worker_id}"


def parse_worker_name(name: str, field: str = "worker") -> str:
    """Return the id in ``workers/{worker}``; raise :class:`InvalidInput` naming ``field``."""
    collection, _, worker_id = name.partition("/")
    if collection != "workers" or id_violations(field, worker_id):
        raise InvalidInput.field(field, f"{name[:200]!r} is not of the form workers/{{worker}}")
    return worker_id
