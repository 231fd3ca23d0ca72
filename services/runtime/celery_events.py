"""Celery events about attempts whose worker is gone: only the control plane can send them.

Use cases queue them after their commit, and the relay sends them. Events that are still queued when
the process ends are lost; Flower then keeps showing the attempt as started.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tailrace.formats.dispatch import TaskId, node_name, task_arguments, task_name
from tailrace.formats.spec.run_spec import StageKind

MOST = 1000
"""Maximum number of events queued while the broker is away; the oldest are dropped first."""


@dataclass(frozen=True)
class CeleryEvent:
    """One Celery event in a worker's name."""

    node: str
    """Celery node name of the worker."""
    kind: str
    """Type of the event, such as ``task-failed``."""
    fields: Mapping[str, Any] = field(default_factory=dict)


class CeleryEvents:
    """Queue of events for the relay, oldest first."""

    def __init__(self) -> None:
        self._queue: collections.deque[CeleryEvent] = collections.deque(maxlen=MOST)

    def attempt_failed(
        self, task_id: TaskId, kind: StageKind, pool: str, worker_id: str, reason: str
    ) -> None:
        """Queue the failure of an attempt that the control plane ended without its worker."""
        fields = {
            "uuid": str(task_id),
            "name": task_name(kind),
            "root_id": task_id.run_uid,
            "args": task_arguments(task_id, pool),
            "result": f"outcome=failed, reason={reason}",
            "exception": f"StageFailedError(reason={reason})",
            "traceback": "",
            "retries": 0,
            "timestamp": time.time(),
        }
        self._queue.append(CeleryEvent(node_name(worker_id), "task-failed", fields))

    def worker_offline(self, worker_id: str) -> None:
        """Queue the offline event of a worker whose last event made it look alive."""
        self._queue.append(CeleryEvent(node_name(worker_id), "worker-offline", {}))

    def first(self) -> CeleryEvent | None:
        """Return the oldest event and leave it in the queue."""
        return self._queue[0] if self._queue else None

    def drop(self, event: CeleryEvent) -> None:
        """Remove an event that was sent."""
        if self._queue and self._queue[0] is event:
            self._queue.popleft()
