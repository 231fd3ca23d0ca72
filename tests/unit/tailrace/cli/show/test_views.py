from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from tailrace.cli.show.views import LiveView, PlainView, log_text, view_for
from tailrace.v1 import run_pb2


def _run(state: Any, done: int, waiting: str = "") -> run_pb2.Run:
    run = run_pb2.Run(name="runs/r", state=run_pb2.RUN_STATE_RUNNING)
    train = run.stages.add(
        id="train", kind=run_pb2.STAGE_KIND_TRAIN, state=state, waiting_reason=waiting
    )
    train.progress.done, train.progress.total, train.progress.unit = done, 400, "steps"
    train.start_time.GetCurrentTime()
    return run


def _play(view: Any) -> None:
    with view:
        view.run(_run(run_pb2.STAGE_STATE_QUEUED, 0, "no live worker serves pool 'gpu'"))
        view.log(
            "train",
            1,
            run_pb2.LogLine(sequence=1, level=run_pb2.LOG_LEVEL_INFO, text="[bold]begin\x1b[2J"),
        )
        for step in range(1, 401):
            view.run(_run(run_pb2.STAGE_STATE_RUNNING, step))
            view.metric("train", run_pb2.MetricPoint(name="loss", step=step, value=4 / step))
        done = _run(run_pb2.STAGE_STATE_SUCCEEDED, 400)
        done.stages[0].end_time.GetCurrentTime()
        view.run(done)


def _console(terminal: bool) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=120, markup=False, highlight=False
    )


def _text(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_plain_lines() -> None:
    console = _console(terminal=False)
    _play(view_for(console))
    lines = _text(console).splitlines()
    assert lines[0] == "train  QUEUED (no live worker serves pool 'gpu')"
    assert lines[1] == "run    RUNNING"
    assert lines[2].endswith("train  INFO    [bold]begin\\x1b[2J")
    assert lines[3] == "train  RUNNING"
    # The stage's own log has a line for each point of the loss.
    assert lines[4:] == ["train  SUCCEEDED"]


def _infer(done: int) -> run_pb2.Run:
    run = _run(run_pb2.STAGE_STATE_RUNNING, done)
    run.stages[0].id, run.stages[0].kind = "infer", run_pb2.STAGE_KIND_INFER
    run.stages[0].progress.unit = "predictions"
    return run


def test_progress_is_printed_now_and_then() -> None:
    console = _console(terminal=False)
    view = PlainView(console)
    for done in range(1, 401):
        view.run(_infer(done))
    lines = [line for line in _text(console).splitlines() if "predictions" in line]
    assert 15 <= len(lines) <= 25
    assert lines[0] == "infer  1/400 predictions"
    assert lines[-1] == "infer  400/400 predictions"


def test_a_resumed_stage_goes_back() -> None:
    console = _console(terminal=False)
    view = PlainView(console)
    for done in (100, 90):
        view.run(_infer(done))
    lines = [line for line in _text(console).splitlines() if "predictions" in line]
    assert lines == ["infer  100/400 predictions", "infer  90/400 predictions"]


def test_bars_in_a_terminal() -> None:
    console = _console(terminal=True)
    view = view_for(console)
    assert isinstance(view, LiveView)
    _play(view)
    text = _text(console)
    assert "400/400 steps" in text
    assert "SUCCEEDED loss 0.0100" in text
    assert "[bold]begin\\x1b[2J" in text


@pytest.mark.parametrize(("attempt", "label"), [(1, "train  INFO"), (2, "train#2 INFO")])
def test_log_lines_name_later_attempts(attempt: int, label: str) -> None:
    assert label in log_text(
        "train", attempt, run_pb2.LogLine(level=run_pb2.LOG_LEVEL_INFO, text="x")
    )


def test_a_stage_that_takes_a_result_names_it() -> None:
    console = _console(terminal=False)
    run = _run(run_pb2.STAGE_STATE_SKIPPED, 0)
    run.stages[0].cached_from = "runs/a/stages/train"
    with PlainView(console) as view:
        view.run(run)
    assert "train  SKIPPED (reuses runs/a/stages/train)" in _text(console)
