"""Celery events about stages, as Flower shows them, sent by the worker instead of Celery.

Celery reports each delivery of a message, but a stage may be delivered several times. So stage
tasks have ``send_events = False``: a worker reports the start of an attempt once AcquireStage has
granted it, and its end once the control plane has accepted the report. Pool processes pass events
to their parent through the control socket; the parent sends them with Celery's dispatcher, from
Celery's loop.
"""

from __future__ import annotations

import collections
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from celery import bootsteps
from celery.worker.consumer.events import Events

from tailrace.formats.dispatch import TaskId, task_arguments
from workers.attempt.report import Conclusion

_log = structlog.get_logger(__name__)

Event = Mapping[str, Any]
"""Fields of a Celery event, including its ``type``."""

MOST_WAITING = 10_000
"""Maximum number of events that wait for an absent broker; the oldest ones are dropped then."""

_FLUSH_SECONDS = 5.0
"""Longest wait of an ending worker for a broker that does not accept the last events."""


@dataclass(frozen=True)
class Subject:
    """The task of an event, as Flower shows it."""

    task_id: TaskId
    name: str
    """Name of the Celery task."""
    root_id: str
    parent_id: str
    pool: str
    slot: str
    run: str = ""
    """Resource name ``runs/{run}``; empty if only the uid is known."""

    def event(self, kind: str, **fields: Any) -> Event:
        """Return an event of ``kind``, such as ``succeeded``."""
        return {
            "type": f"task-{kind}",
            "uuid": str(self.task_id),
            "name": self.name,
            "root_id": self.root_id,
            "parent_id": self.parent_id or None,
            "args": task_arguments(self.task_id, self.pool),
            "retries": 0,
            "timestamp": time.time(),
            **({"kwargs": self._text(run=self.run, slot=self.slot)} if self.slot else {}),
            **fields,
        }

    def text(self, **fields: str) -> str:
        """Return ``fields`` and the identity of the attempt as text."""
        return self._text(
            **fields,
            run=self.run or self.task_id.run_uid,
            stage=self.task_id.stage,
            attempt=str(self.task_id.attempt),
            slot=self.slot,
            pool=self.pool,
        )

    def _text(self, **fields: str) -> str:
        return ", ".join(f"{name}={value}" for name, value in fields.items() if value)


class AttemptEvents:
    """Events of one attempt that the control plane has granted."""

    def __init__(self, subject: Subject, send: Callable[[Event], None]) -> None:
        """Report that the attempt was received and has started."""
        self._subject = subject
        self._send = send
        self._began = time.monotonic()
        send(subject.event("received"))
        send(subject.event("started"))

    def end(self, conclusion: Conclusion) -> None:
        """Report the attempt's end, unless the control plane does not know it yet."""
        runtime = time.monotonic() - self._began
        reason = {"reason": conclusion.detail} if conclusion.detail else {}
        summary = self._subject.text(outcome=conclusion.outcome, **reason)
        event: Event | None = None
        if conclusion.outcome == "succeeded":
            event = self._subject.event("succeeded", result=summary, runtime=runtime)
        elif conclusion.outcome == "failed":
            event = self._subject.event(
                "failed",
                result=summary,
                runtime=runtime,
                exception=f"StageFailedError({self._subject.text(**reason)})",
                traceback="",
            )
        elif conclusion.outcome == "released":
            event = self._subject.event(
                "revoked",
                result=summary,
                runtime=runtime,
                terminated=True,
                signum=None,
                expired=False,
            )
        if event is not None:
            self._send(event)


def cancelled_event(subject: Subject) -> Event:
    """Return the event of a stage that was cancelled while it was queued."""
    return subject.event(
        "revoked",
        result=subject.text(outcome="cancelled", reason="CANCELLED"),
        terminated=False,
        signum=None,
        expired=False,
    )


def lost_event(started: Event, reason: str) -> Event:
    """Return the final event of an attempt whose pool process is gone, from its start event."""
    now = time.time()
    facts = f"{started['args']}, {started.get('kwargs', '')}"
    return {
        **started,
        "type": "task-failed",
        "timestamp": now,
        "runtime": now - started["timestamp"],
        "result": f"outcome=failed, reason={reason}, {facts}",
        "exception": f"StageFailedError(reason={reason}, {facts})",
        "traceback": "",
    }


class TaskEvents:
    """The parent process's queue of unsent events. Thread-safe."""

    def __init__(self) -> None:
        self._waiting: collections.deque[Event] = collections.deque(maxlen=MOST_WAITING)
        self.on_event: Callable[[Event], None] = lambda _: None
        """Callback for each event."""
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)

    @property
    def descriptor(self) -> int:
        """Descriptor that is readable while events wait."""
        return self._read_end

    def put(self, event: Event) -> None:
        """Queue an event and wake the sender."""
        self._waiting.append(event)
        self.on_event(event)
        # A full pipe wakes the sender just as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._write_end, b"\0")

    def send_all(self, dispatcher: Any) -> None:
        """Send the waiting events; ``dispatcher`` buffers them while the broker is absent."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read_end, 4096):
                pass
        while self._waiting:
            event = dict(self._waiting.popleft())
            dispatcher.send(event.pop("type"), **event)
        # Celery's loop would flush as well, but it may be about to end.
        dispatcher.flush()

    def flush(self, app: Any, hostname: str) -> None:
        """Send the waiting events over a new connection: Celery has closed its own by then."""
        if not self._waiting:
            return
        try:
            with app.connection_for_write(connect_timeout=_FLUSH_SECONDS) as connection:
                connection.ensure_connection(max_retries=1, timeout=_FLUSH_SECONDS)
                self.send_all(
                    app.events.Dispatcher(connection, hostname, buffer_while_offline=False)
                )
        except Exception as error:  # noqa: BLE001  # transports raise what their drivers raise
            _log.warning("the last task events were not sent", error=str(error))


class TaskEventSender(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """Step of the consumer that sends the events from Celery's loop with its dispatcher."""

    requires = (Events,)

    def __init__(self, consumer: Any, task_events_queue: TaskEvents, **options: Any) -> None:
        """Send the events of ``task_events_queue``, an option of the worker."""
        super().__init__(consumer, **options)
        self._events = task_events_queue

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
        """Send waiting events, now and whenever there are more; called once per connection."""
        hub.add_reader(self._events.descriptor, self._send, consumer)
        self._send(consumer)

    def _send(self, consumer: Any) -> None:
        if consumer.event_dispatcher is not None:
            self._events.send_all(consumer.event_dispatcher)
