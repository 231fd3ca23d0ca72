"""Work for the time in which the event loop would wait, as for a commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def meanwhile(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Task[T]:
    """Have the loop call ``work`` once the caller waits for something; a task with its result.

    What is not wanted any more when it is there, as after a commit that failed, may be forgotten.
    """

    async def call() -> T:
        return work(*args, **kwargs)

    return asyncio.create_task(call())
