"""Celery events that only the control plane can send: about attempts whose worker is gone.

Use cases put them here after their commit; the relay sends them. What a process has not sent when
it ends is lost, and Flower then goes on to show the attempt as started.
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
"""Notices that wait for a broker that is away; the oldest are dropped beyond that."""


@dataclass(frozen=True)
class Notice:
    """One Celery event in a worker's name."""

    node: str
    """The worker's Celery node."""
    kind: str
    """The event's type."""
    fields: Mapping[str, Any] = field(default_factory=dict)


class Notices:
    """Notices on their way to the relay, oldest first."""

    def __init__(self) -> None:
        self._waiting: collections.deque[Notice] = collections.deque(maxlen=MOST)

    def attempt_failed(
        self, task_id: TaskId, kind: StageKind, pool: str, worker_id: str, reason: str
    ) -> None:
        """Report an attempt that the control plane has ended without its worker."""
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
        self._waiting.append(Notice(node_name(worker_id), "task-failed", fields))

    def worker_offline(self, worker_id: str) -> None:
        """Report a worker that is gone: its last notice made it look alive."""
        self._waiting.append(Notice(node_name(worker_id), "worker-offline", {}))

    def first(self) -> Notice | None:
        """Return the oldest notice, which stays until it is dropped."""
        return self._waiting[0] if self._waiting else None

    def drop(self, notice: Notice) -> None:
        """Forget a notice that was sent."""
        if self._waiting and self._waiting[0] is notice:
            self._waiting.popleft()
