"""A control plane that is away for minutes while a worker trains.

``python -m tests.chaos.absence --seconds 600`` says what the worker did and 1 when anything of it
was lost, doubled or done again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import tailrace
from tailrace.v1 import run_pb2
from tests.chaos.audit import told_once
from tests.conftest import running
from tests.integration.follow import until_terminal
from tests.integration.specs import small, state
from tests.servers.node import wait_until
from tests.servers.valkey import Valkey
from tests.stack import Stack

STEPS_A_SECOND = 8
"""Steps for each second away: few enough for a busy machine to end about when the absence does."""


def main() -> int:
    """Do it."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.absence", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long it is away")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="tailrace-absence-") as name, running(Valkey) as broker:
        (Path(name) / "stack").mkdir()
        stack = Stack(Path(name) / "stack", f"sqlite+aiosqlite:///{name}/tailrace.db", broker.url)
        try:
            stack.start_server()
            stack.start_worker()
            run = _through_absence(stack, seconds)
            with stack.client() as client:
                problems = told_once(client, run).all()
        finally:
            stack.stop()
    tried = {stage.id: len(stage.attempts) for stage in run.stages}
    if state(run) != "succeeded" or set(tried.values()) != {1}:
        problems.append(f"the run {state(run)} after attempts {tried}")
    steps = run.stages[0].result.train.steps
    print(f"away for {seconds:.0f} s of {steps} steps: attempts {tried}, {len(problems)} problems")
    print(*problems, sep="\n")
    return 1 if problems else 0


def _through_absence(stack: Stack, seconds: float) -> run_pb2.Run:
    """A run whose training has just begun when the control plane is killed; as it ended."""
    steps = int(STEPS_A_SECOND * seconds)
    with stack.client() as client:
        client.seed_dataset("golden-v2")
        name = client.create_run(small(steps, train={"save_every_steps": 1000})).name
        wait_until(lambda: _progress(client, name) > 0, "the first steps", 180)
    assert stack.server is not None
    stack.server.kill_group()
    time.sleep(seconds)
    stack.start_server()
    with stack.client() as client:
        print(f"back after {seconds:.0f} s: {_progress(client, name)} steps are known")
        return until_terminal(client, name, timeout=1800)


def _progress(client: tailrace.Client, name: str) -> int:
    return int(client.get_run(name).stages[0].progress.done)


if __name__ == "__main__":
    sys.exit(main())
