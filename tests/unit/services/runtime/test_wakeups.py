from __future__ import annotations

import asyncio
import time

from services.runtime.wakeups import SharedReads, Shutdown, Wakeups


async def test_a_wake_up_before_the_wait_ends_it_at_once_and_only_once() -> None:
    wakeups = Wakeups()
    with wakeups.subscribe("run") as subscription:
        for _ in range(1000):
            wakeups.wake("run")
        started = time.monotonic()
        await subscription.wait(5)
        assert time.monotonic() - started < 1
        started = time.monotonic()
        await subscription.wait(0.05)
        assert time.monotonic() - started >= 0.04


async def test_only_subscribers_of_the_key_wake() -> None:
    wakeups = Wakeups()
    with wakeups.subscribe("a") as a, wakeups.subscribe("b") as b:
        waits = [asyncio.create_task(a.wait(5)), asyncio.create_task(b.wait(5))]
        await asyncio.sleep(0)
        wakeups.wake("a")
        done, pending = await asyncio.wait(waits, timeout=0.2)
        assert done == {waits[0]}
        wakeups.wake_all()
        await asyncio.wait_for(waits[1], 1)
        assert not pending - {waits[1]}


async def test_nothing_is_kept_of_ended_subscriptions() -> None:
    wakeups = Wakeups()
    with wakeups.subscribe("a", "b"):
        pass
    wakeups.wake("a", "b", "never")
    assert wakeups._keys == {}


async def test_a_shutdown_ends_every_sleep() -> None:
    shutdown = Shutdown()
    assert not await shutdown.sleep(0.01)
    sleeper = asyncio.create_task(shutdown.sleep(30))
    await asyncio.sleep(0)
    shutdown.begin()
    assert shutdown.in_progress
    assert await asyncio.wait_for(sleeper, 1)
    await asyncio.wait_for(shutdown.wait(), 1)


async def test_readers_share_a_read_that_is_under_way() -> None:
    reads, results, both, go = SharedReads(), [], asyncio.Event(), asyncio.Event()

    async def read() -> int:
        results.append(1)
        if len(results) == 2:
            both.set()
        await go.wait()
        return len(results)

    first = [asyncio.create_task(reads.read("same", read)) for _ in range(3)]
    other = asyncio.create_task(reads.read("other", read))
    await both.wait()
    # The first reader goes away; the others still get the result.
    first[0].cancel()
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*first[1:], other) == [2, 2, 2]
    assert await reads.read("same", read) == 3


async def test_wakes_are_counted_while_somebody_waits() -> None:
    wakeups = Wakeups()
    wakeups.wake("a")
    with wakeups.subscribe("a"):
        assert wakeups.wake_count("a") == 0
        wakeups.wake("a", "b")
        assert (wakeups.wake_count("a"), wakeups.wake_count("b")) == (1, 0)
