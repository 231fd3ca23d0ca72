"""Work on large messages, kept off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

LARGE_BYTES = 16 * 1024
"""Size from which a message is large: processing it takes milliseconds."""

P = ParamSpec("P")
T = TypeVar("T")


async def run_off_loop(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``work`` on a message of ``size`` bytes, in a thread if the message is large.

    A small message is processed before a thread would start.
    """
    if size < LARGE_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
