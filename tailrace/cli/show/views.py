"""Views of a run in progress: bars on a terminal, lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tailrace.cli.show import output
from tailrace.cli.show.run_view import run_state, stage_state
from tailrace.protomap import enum_word
from tailrace.v1 import run_pb2

_PLAIN_STEPS = 20
"""Approximate number of progress lines of a stage in :class:`PlainView`."""


def log_text(stage: str, attempt: int, line: run_pb2.LogLine) -> str:
    """Return ``12:00:01 train  INFO    text``; later attempts of a stage are ``train#2``."""
    stage = stage if attempt < 2 else f"{stage}#{attempt}"
    level = enum_word(run_pb2.LogLevel.DESCRIPTOR, line.level).upper()
    clock = output.moment(line.time)[11:]
    return output.one_line(f"{clock} {stage:<6} {level:<7} {line.text}")


class LiveView:
    """View for terminals: a progress bar per stage below the log lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: dict[str, TaskID] = {}
        self._losses: dict[str, str] = {}
        self._progress = Progress(
            TextColumn("{task.description:<6}"),
            BarColumn(bar_width=32),
            TextColumn("{task.completed:>5.0f}/{task.total:.0f} {task.fields[unit]}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def run(self, run: run_pb2.Run) -> None:
        """Move the bars."""
        for stage in run.stages:
            if stage.id not in self._bars:
                self._bars[stage.id] = self._progress.add_task(
                    output.one_line(stage.id), start=False, total=0, unit="", note=""
                )
            bar = self._bars[stage.id]
            if stage.HasField("start_time"):
                self._progress.start_task(bar)
            if stage.HasField("end_time"):
                self._progress.stop_task(bar)
            note = f"{stage_state(stage)} {self._losses.get(stage.id, '')} {_why(stage)}"
            progress = stage.progress
            self._progress.update(
                bar,
                completed=progress.done,
                total=progress.total,
                unit=output.one_line(progress.unit),
                note=output.one_line(note.strip()),
            )

    def log(self, stage: str, attempt: int, line: run_pb2.LogLine) -> None:
        """Print the line above the bars."""
        self._console.print(log_text(stage, attempt, line), soft_wrap=True)

    def metric(self, stage: str, point: run_pb2.MetricPoint) -> None:
        """Show the loss next to the stage's bar."""
        self._losses[stage] = f"loss {output.loss(point.value)}"
        if stage in self._bars:
            self._progress.update(self._bars[stage], note=f"RUNNING {self._losses[stage]}")


def _why(stage: run_pb2.Stage) -> str:
    """Return the reason for which a stage does not run: its wait, or a reused result."""
    return f"reuses {stage.cached_from}" if stage.cached_from else stage.waiting_reason


class PlainView:
    """View for pipes, files and continuous integration: one line per event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, str] = {}
        self._totals: dict[str, int] = {}
        self._shown: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del exc_type, exc, traceback

    def run(self, run: run_pb2.Run) -> None:
        """Print changed states, and the progress of stages whose log does not show it."""
        for stage in run.stages:
            why = f" ({_why(stage)})" if _why(stage) else ""
            self._changed(stage.id, f"{stage_state(stage)}{why}")
            self._totals[stage.id] = stage.progress.total
            if stage.kind != run_pb2.STAGE_KIND_TRAIN and stage.progress.total:
                text = f"{stage.progress.done}/{stage.progress.total} {stage.progress.unit}"
                self._advanced(stage.id, stage.progress.done, text)
        self._changed("run", run_state(run))

    def log(self, stage: str, attempt: int, line: run_pb2.LogLine) -> None:
        """Print the line."""
        self._print(log_text(stage, attempt, line))

    def metric(self, stage: str, point: run_pb2.MetricPoint) -> None:
        """Print nothing: the log has a line for each point."""
        del stage, point

    def _changed(self, what: str, state: str) -> None:
        if self._states.get(what) != state:
            self._states[what] = state
            self._print(f"{what:<6} {state}")

    def _advanced(self, stage: str, done: int, text: str) -> None:
        total = self._totals.get(stage, 0)
        last = self._shown.get(stage)
        if last is not None and last <= done < min(last + max(1, total // _PLAIN_STEPS), total):
            return
        if last == done:
            return
        self._shown[stage] = done
        self._print(f"{stage:<6} {text}")

    def _print(self, text: str) -> None:
        self._console.print(output.one_line(text), soft_wrap=True)


def view_for(console: Console) -> LiveView | PlainView:
    """Return the view for a terminal or for other output."""
    return LiveView(console) if console.is_terminal else PlainView(console)
