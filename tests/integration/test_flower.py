"""A real Flower on the broker shows a run as one chain of three tasks."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import MakeStack
from tests.integration.follow import until_terminal
from tests.integration.specs import small, state
from tests.servers.node import Process, free_port, wait_until


@pytest.mark.parametrize("kind", ["production"])
def test_flower_lists_a_run_as_one_chain(kind: str, stack_maker: MakeStack, tmp_path: Path) -> None:
    stack = stack_maker(kind)
    stack.start_server()
    port = free_port()
    argv = [sys.executable, "-m", "celery", f"--broker={stack.broker_url}", "flower"]
    argv += ["--address=127.0.0.1", f"--port={port}"]
    env = {**os.environ, "FLOWER_UNAUTHENTICATED_API": "true"}
    flower = Process(argv, log=tmp_path / "flower.log", env=env)

    def tasks() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/tasks", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def answers() -> bool:
        try:
            return tasks() == {}
        except OSError:
            return False

    try:
        wait_until(answers, "Flower", 30)
        stack.start_worker()
        with stack.client() as client:
            client.seed_dataset("golden-v2")
            run = until_terminal(client, client.create_run(small(5)).name)
        assert state(run) == "succeeded"
        wanted = {
            f"{run.uid}.{stage}.1": f"tailrace.{stage}" for stage in ("train", "infer", "judge")
        }
        wait_until(lambda: sum(t["state"] == "SUCCESS" for t in tasks().values()) == 3, "tasks", 15)
        shown = tasks()
        assert {uuid: task["name"] for uuid, task in shown.items()} == wanted
        assert {task["root_id"] for task in shown.values()} == {run.uid}
    finally:
        flower.stop()
