"""Round trips of the empty task: sent, confirmed, delivered to an idle prefork worker, begun."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.load import celery_app
from tests.servers.node import Process, wait_until


@contextlib.contextmanager
def empty_task(folder: Path, broker_url: str) -> Iterator[Callable[[], float]]:
    """A function that sends one task and returns the seconds until its code began."""
    environment = {"TAILRACE_LOAD_BROKER": broker_url, celery_app.ANSWERS: str(folder)}
    argv = [sys.executable, "-m", "celery", "-A", "benchmarks.load.celery_app", "worker"]
    argv += ["--concurrency", "1", "--loglevel", "warning", "-n", "yardstick@localhost"]
    worker = Process(argv, log=folder / "yardstick.log", env=os.environ | environment)
    app: Any = _app(environment)
    numbers = iter(range(1_000_000))
    connection = app.connection_for_write()

    def round_trip() -> float:
        number = next(numbers)
        answer = folder / str(number)
        sent = time.time()
        app.send_task("yardstick.empty", [number], connection=connection, confirm_timeout=10)
        wait_until(answer.exists, "the empty task", 60)
        return float(answer.read_text()) - sent

    try:
        round_trip()
        yield round_trip
    finally:
        connection.release()
        worker.stop()


def _app(environment: dict[str, str]) -> Any:
    """The application as its worker sees it: both take the broker from the environment."""
    os.environ.update(environment)
    return importlib.reload(celery_app).app
