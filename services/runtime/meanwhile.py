"""Work that the event loop is not to wait for: in its idle time, or in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

LARGE_BYTES = 16 * 1024
"""Size from which a message is large: working on it takes milliseconds."""

P = ParamSpec("P")
T = TypeVar("T")


def meanwhile(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Task[T]:
    """Have the loop call ``work`` once the caller waits for something; a task with its result.

    What is not wanted any more when it is there, as after a commit that failed, may be forgotten.
    """

    async def call() -> T:
        return work(*args, **kwargs)

    return asyncio.create_task(call())


async def apart(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``work`` on a message of ``size`` bytes; for a large one in a thread.

    The loop answers other calls meanwhile; a small message is done before a thread would begin.
    """
    if size < LARGE_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
