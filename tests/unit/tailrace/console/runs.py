"""Runs for the pages to show, driven through the control plane's use cases."""

from __future__ import annotations

from typing import Any

from services.domain.event import Evaluation, LogLevel, MetricPoint
from services.domain.stage import Progress
from services.usecases.content import datasets
from tests.servers.control_plane import ServedControlPlane
from tests.unit.services.driver import CALLER, MOMENT, Driver, line

HOSTILE = "<script>alert(1)</script> \u202egnp.exe 'a' & <b>"
"""Text that must arrive as text."""

LINES = 450
"""Log lines of the run ``judged``; the 200th is an error."""


def build_runs(served: ServedControlPlane) -> None:
    """Create ``judged``, ``better``, ``failed`` and ``busy``."""
    driver = Driver(served.control_plane.context)
    served.call(_build(driver))


async def _build(driver: Driver) -> None:
    await datasets.seed(driver.context, CALLER, "golden-v2")
    await driver.register(slots=2)
    await _judged(driver, "judged", loss=2.25, passes=1)
    await _judged(driver, "better", loss=1.75, passes=2)
    await driver.create("failed", cache=False)
    await driver.fail(await driver.start("failed"), retryable=False)
    await driver.create("busy", cache=False)
    order = await driver.start("busy")
    await driver.publish(order, 1, Progress(3, 10, "steps"))


async def _judged(driver: Driver, run_id: str, *, loss: float, passes: int) -> None:
    await driver.create(run_id, cache=False, labels={"note": HOSTILE})
    order = await driver.start(run_id)
    await driver.publish(order, 1, *_training(loss))
    result = {"steps": 10, "first_loss": 5.5, "last_loss": loss}
    await driver.complete(order, result, last_event=LINES + 10)
    order = await driver.start(run_id)
    await driver.publish(order, 1, *map(_prediction, range(3)))
    await driver.complete(order, last_event=3)
    order = await driver.start(run_id)
    await driver.publish(order, 1, *(_verdict(i, i < passes) for i in range(3)))
    await driver.complete(order, {"scores": [_score(passes)]}, last_event=3)


def _training(loss: float) -> list[Any]:
    lines = [
        line(f"line {n} {HOSTILE}", LogLevel.ERROR if n == 200 else LogLevel.INFO)
        for n in range(1, LINES + 1)
    ]
    points = [MetricPoint("loss", step, loss + 10 - step, MOMENT) for step in range(1, 11)]
    return [*lines, *points]


def _item(number: int) -> dict[str, Any]:
    return {
        "eval_set": "dataset:train",
        "example_id": f"item-{number}",
        "model_role": "trained",
        "sample": 0,
    }


def _prediction(number: int) -> Evaluation:
    body = {
        **_item(number),
        "prompt": f"What is {number} + 1? {HOSTILE}",
        "text": f"Answer: {number + 1}",
        "reasoning": "I add one." if number == 0 else "",
        "answer": f"<tool_call>add</tool_call> Answer: {number + 1}",
        "finish_reason": "eos",
        "completion_tokens": number + 5,
    }
    return Evaluation(tuple(_item(number).values()), body)


def _verdict(number: int, passes: bool) -> Evaluation:
    body = {
        **_item(number),
        "judge": "answer_correctness",
        "version": "4",
        "outcome": "pass" if passes else "fail",
        "score": float(passes),
        "expected": str(number + 1),
        "reason": "as expected" if passes else "another answer",
    }
    return Evaluation(tuple(_item(number).values()), body, "answer_correctness")


def _score(passes: int) -> dict[str, Any]:
    return {
        "judge": "answer_correctness",
        "version": "4",
        "eval_set": "dataset:train",
        "model_role": "trained",
        "passed": passes,
        "total": 3,
        "score": passes / 3,
        "interval_low": 0.0612,
        "interval_high": 0.7923,
    }
