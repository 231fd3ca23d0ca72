"""How often callers that repeat an operation get it done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

CALLERS = 64


async def rate_of(
    operation: Callable[[], Awaitable[None]], seconds: float, callers: int = CALLERS
) -> tuple[float, list[float]]:
    """Operations per second of ``callers`` that repeat one, and how many seconds each took."""
    latencies: list[float] = []
    end = time.monotonic() + seconds

    async def caller() -> None:
        while (started := time.monotonic()) < end:
            await operation()
            latencies.append(time.monotonic() - started)

    started = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return len(latencies) / (time.monotonic() - started), latencies
