"""Both clients, by turns, against the twin of the control plane."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from tailrace import AsyncClient, Client
from tailrace.retry import RetryPolicy
from tests.unit.tailrace.twin import ControlPlaneTwin


class Driven:
    """An AsyncClient driven step by step, so that one test body serves both clients."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            return self._runner.run(result) if inspect.iscoroutine(result) else self._drive(result)

        return call

    def _drive(self, items: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._runner.run(anext(items))
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(items.aclose())

    def __enter__(self) -> Driven:
        return self

    def __exit__(self, *error: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(params=[Client, Driven], ids=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Any:
    """The blocking client and the asyncio one, by turns."""
    return request.param


@pytest.fixture
def plane() -> Iterator[ControlPlaneTwin]:
    twin = ControlPlaneTwin()
    yield twin
    twin.kill()


@pytest.fixture
def quick() -> RetryPolicy:
    """Retries without long waits."""
    return RetryPolicy(initial_wait=0.01, max_wait=0.05, jitter=0.01, reconnect_timeout=2.0)


@pytest.fixture
def spec() -> dict[str, Any]:
    """A valid run spec as plain data."""
    return {
        "dataset": "golden-v2",
        "model": {"preset": "gpt2-nano"},
        "train": {"sft": {"max_steps": 10}},
    }
