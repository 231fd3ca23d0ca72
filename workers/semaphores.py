"""The helper process of Celery's pool, without the worker's environment."""

from __future__ import annotations

import os
from pathlib import Path

from billiard import semaphore_tracker

from workers.process.environment import inherited_environment


def start_semaphore_tracker(home: Path) -> None:
    """Start the process that removes semaphores of killed pool processes.

    It lives as long as the worker, and its exec ends what keeps the worker from being read
    (:mod:`tailrace.undumpable`), so it gets the variables of a stage process. To be called before
    there are threads: they would miss variables meanwhile.
    """
    environment = dict(os.environ)
    os.environ.clear()
    os.environ.update(inherited_environment(home, environment=environment))
    try:
        semaphore_tracker.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(environment)
