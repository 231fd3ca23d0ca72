"""The yardstick of a dispatch: an empty Celery task, with queues and guarantees as Tailrace's."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import kombu
from celery import Celery

ANSWERS = "TAILRACE_LOAD_ANSWERS"
"""Environment variable with the file that the task writes the time into."""

# kombu declares itself typed, but its classes are not.
_kombu: Any = kombu

app = Celery("yardstick", broker=os.environ.get("TAILRACE_LOAD_BROKER", ""))
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    task_queues=[
        _kombu.Queue(
            "yardstick",
            _kombu.Exchange("yardstick", type="topic", durable=True),
            "yardstick",
            durable=True,
            queue_arguments={"x-queue-type": "quorum"},
        )
    ],
    task_default_queue="yardstick",
    task_default_exchange="yardstick",
    task_default_exchange_type="topic",
    task_default_routing_key="yardstick",
    worker_consumer="workers.broker_link:StageConsumer",
)
if app.conf.broker_url and app.conf.broker_url.startswith("amqp"):
    app.conf.broker_transport_options = {"confirm_publish": True}


@app.task(name="yardstick.empty")  # type: ignore[untyped-decorator]
def empty(number: int) -> None:
    """Say when user code began."""
    answers = Path(os.environ[ANSWERS])
    part = answers / f"{number}.part"
    part.write_text(repr(time.time()))
    part.rename(answers / str(number))
