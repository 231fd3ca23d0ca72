"""Waiting for runs, with a deadline and a useful message."""

from __future__ import annotations

import time
from collections.abc import Callable

import tailrace
from tailrace.v1 import run_pb2
from tests.integration.specs import TERMINAL, stage_states, state


def until(
    client: tailrace.Client,
    name: str,
    reached: Callable[[run_pb2.Run], bool],
    timeout: float = 120.0,
) -> run_pb2.Run:
    """Poll a run until ``reached``; raises ``TimeoutError`` with the states it stayed in."""
    deadline = time.monotonic() + timeout
    while True:
        run = client.get_run(name)
        if reached(run):
            return run
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} is {state(run)} with {stage_states(run)}:\n{run}")
        time.sleep(0.1)


def until_terminal(client: tailrace.Client, name: str, timeout: float = 120.0) -> run_pb2.Run:
    """Wait for the run's end."""
    return until(client, name, lambda run: run.state in TERMINAL, timeout)


def until_step(client: tailrace.Client, name: str, step: int) -> run_pb2.Run:
    """Wait until the training stage has a usable checkpoint at ``step`` or later."""

    def reached(run: run_pb2.Run) -> bool:
        assert run.state not in TERMINAL, f"{name} ended before it was disturbed: {run}"
        attempts = run.stages[0].attempts
        return bool(attempts) and attempts[-1].checkpoint_step >= step

    return until(client, name, reached)
