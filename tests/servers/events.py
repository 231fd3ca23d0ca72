"""A listener for Celery's task events, as Flower is one."""

from __future__ import annotations

import threading
from typing import Any

import celery

from tests.servers.node import wait_until


class TaskEventListener:
    """Hears what is sent on a broker while the ``with`` block runs."""

    def __init__(self, broker_url: str) -> None:
        self._app = celery.Celery("listener", broker=broker_url, set_as_current=False)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.events: list[dict[str, Any]] = []
        """Task events in the order in which they came."""

    def __enter__(self) -> TaskEventListener:
        self._thread.start()
        # Redis subscribes some time after the consumer is said to be ready: only an event that
        # arrives proves that the next one will.
        with self._app.events.default_dispatcher() as dispatcher:
            for _attempt in range(100):
                dispatcher.send("listener-ready")
                if self._ready.wait(0.2):
                    return self
        raise AssertionError("no event reached the listener within 20 s")

    def __exit__(self, *_: object) -> None:
        self._receiver.should_stop = True
        self._thread.join(10)

    def kinds(self, task_id: str) -> list[str]:
        """Kinds of a task's events, such as ``started``."""
        events = [event for event in self.events if event["uuid"] == task_id]
        return [event["type"].removeprefix("task-") for event in events]

    def wait(self, task_id: str, *kinds: str, timeout: float = 20.0) -> None:
        """Wait until a task's events are of these kinds, in this order."""
        wait_until(lambda: self.kinds(task_id) == [*kinds], f"{kinds} of {task_id}", timeout)

    def _listen(self) -> None:
        with self._app.connection_for_read() as connection:
            self._receiver: Any = self._app.events.Receiver(connection, handlers={"*": self._take})
            self._receiver.capture(wakeup=False)

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "listener-ready":
            self._ready.set()
        elif event["type"].startswith("task-"):
            self.events.append(event)
