from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.api.rpc import prompt_messages
from services.domain.errors import Unavailable


async def test_messages_pass() -> None:
    async def stream() -> AsyncIterator[int]:
        for i in range(3):
            yield i

    assert [message async for message in prompt_messages(stream(), 5)] == [0, 1, 2]


async def test_a_silent_stream_ends() -> None:
    async def stream() -> AsyncIterator[int]:
        yield 0
        await asyncio.Event().wait()

    messages = prompt_messages(stream(), idle_seconds=0.05)
    assert await anext(messages) == 0
    with pytest.raises(Unavailable) as error:
        await anext(messages)
    assert error.value.reason == "STREAM_IDLE"
