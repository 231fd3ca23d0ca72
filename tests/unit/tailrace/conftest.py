"""Both clients, by turns, against the twin of the control plane."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from tailrace import AsyncClient, AsyncRunHandle, Client
from tailrace.retry import RetryPolicy
from tests.unit.tailrace.twin import ControlPlaneTwin


class Stepped:
    """An asyncio object driven step by step, so that one test body serves both flavours."""

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._target, name)
        return self._drive_method(member) if callable(member) else member

    def _drive_method(self, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            value = method(*args, **kwargs)
            if isinstance(value, AsyncRunHandle):
                return Stepped(value, self._runner)
            return self._runner.run(value) if inspect.iscoroutine(value) else self._drive(value)

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


class SteppedClient(Stepped):
    """An AsyncClient driven step by step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(AsyncClient(*args, **kwargs), asyncio.Runner())

    def __enter__(self) -> SteppedClient:
        return self

    def __exit__(self, *error: object) -> None:
        self._runner.run(self._target.close())
        self._runner.close()


@pytest.fixture(params=[Client, SteppedClient], ids=["blocking", "asyncio"])
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
        "train": {"max_steps": 10},
    }
