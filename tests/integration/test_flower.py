"""A real Flower shows each stage as the control plane has it, however often it was delivered."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.adapters.broker import Broker
from tests.integration.conftest import STACKS, MakeStack
from tests.integration.follow import until, until_terminal
from tests.integration.specs import small, state, train_only
from tests.servers.node import Process, free_port, wait_until
from tests.stack import Stack

CONFIG = Path(__file__).parents[2] / "deploy/flower/flowerconfig.py"
LOGIN = "operator:secret"

Tasks = dict[str, dict[str, Any]]


class Flower:
    """Flower with the deployment's configuration."""

    def __init__(self, broker_url: str, folder: Path) -> None:
        self._port = free_port()
        argv = [sys.executable, "-m", "celery", "flower", f"--conf={CONFIG}"]
        argv += ["--address=127.0.0.1", f"--port={self._port}"]
        variables = {
            "TAILRACE_BROKER_URL": broker_url,
            "FLOWER_BASIC_AUTH": LOGIN,
            "FLOWER_DB": str(folder / "flower.db"),
        }
        log = folder / "flower.log"
        self._process = Process(argv, log=log, env=os.environ | variables, cwd=folder)
        wait_until(self._answers, "Flower", 60)

    def tasks(self) -> Tasks:
        """All tasks by id."""
        url = f"http://127.0.0.1:{self._port}/api/tasks"
        request = urllib.request.Request(url)
        request.add_header("Authorization", f"Basic {base64.b64encode(LOGIN.encode()).decode()}")
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - this host
            tasks: Tasks = json.load(answer)
        return tasks

    def wait(self, **states: str) -> Tasks:
        """Wait until each task, by id with ``_`` for the dots, is in its state."""
        wanted = {name.replace("_", "."): state for name, state in states.items()}

        def shown() -> bool:
            tasks = self.tasks()
            return all(tasks.get(name, {}).get("state") == wanted[name] for name in wanted)

        wait_until(shown, f"{wanted}", 20)
        return self.tasks()

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def _answers(self) -> bool:
        try:
            return self.tasks() == {}
        except OSError:
            return False


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest, stack_maker: MakeStack) -> Stack:
    """A control plane that looks at what waits, and repeats it, every second."""
    stack = stack_maker(request.param, republish_seconds="1", republish_max_seconds="1")
    stack.start_server()
    return stack


@pytest.fixture
def flower(stack: Stack, tmp_path: Path) -> Iterator[Flower]:
    """Flower on the stack's broker."""
    flower = Flower(stack.flower_broker_url, tmp_path)
    yield flower
    flower.stop()


def ready(stack: Stack) -> int:
    """Messages that wait for pool cpu."""

    async def count() -> int:
        broker = Broker(stack.broker_url, timeout=10)
        try:
            return await broker.ready("cpu")
        finally:
            await broker.close()

    return asyncio.run(count())


def test_repeated_cancelled_and_failed_stages_are_shown_as_they_are(
    stack: Stack, flower: Flower
) -> None:
    with stack.client() as client:
        client.seed_dataset("golden-v2")
        run = client.create_run(small(5))
        cancelled = client.create_run(train_only())
        client.cancel_run(cancelled.name)
        short = {"max_steps": 5, "max_seq_length": 8}
        failing = client.create_run(train_only(train=short))
        endless = client.create_run(train_only(100_000))
        wait_until(lambda: ready(stack) >= 3 * 3, "three publications")
        stack.start_worker()
        stack.start_worker()
        assert state(until_terminal(client, run.name)) == "succeeded"
        until_terminal(client, failing.name)
        running = until(client, endless.name, lambda r: r.stages[0].progress.done > 0)
        tasks = flower.wait(
            **{f"{run.uid}_{stage}_1": "SUCCESS" for stage in ("train", "infer", "judge")},
            **{f"{failing.uid}_train_1": "FAILURE", f"{cancelled.uid}_train_1": "REVOKED"},
            **{f"{endless.uid}_train_1": "STARTED"},
        )
        wait_until(lambda: _is_drained(stack), "the repeated messages", 30)
        done = client.get_run(run.name)
        client.cancel_run(endless.name)
        until_terminal(client, endless.name)
    after = flower.wait(**{f"{endless.uid}_train_1": "REVOKED"})
    assert {task["root_id"] for uuid, task in after.items() if run.uid in uuid} == {run.uid}
    for stage in done.stages:
        task = after[f"{run.uid}.{stage.id}.1"]
        assert task == tasks[f"{run.uid}.{stage.id}.1"], "a late delivery changed it"
        assert task["name"] == f"tailrace.{stage.id}"
        assert task["worker"] == stage.attempts[0].worker.replace("workers/", "tailrace@")
        seconds = (
            stage.attempts[0].end_time.ToMicroseconds()
            - stage.attempts[0].start_time.ToMicroseconds()
        ) / 1e6
        assert abs(task["runtime"] - seconds) < 1
        assert f"stage={stage.id}" in task["args"]
        assert run.name in task["kwargs"]
        assert "slot=cpu-0" in task["result"]
    on = running.stages[0].attempts[0].worker.replace("workers/", "tailrace@")
    assert tasks[f"{endless.uid}.train.1"]["worker"] == on
    assert "reason=" in after[f"{failing.uid}.train.1"]["result"]


def _is_drained(stack: Stack) -> bool:
    log = "".join(worker.log.read_text() for worker in stack.workers)
    return log.count('"nothing to do"') >= 6
