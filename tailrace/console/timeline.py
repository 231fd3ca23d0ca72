"""Stages of a run over time, and the time that a stage still needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from tailrace.cli.show import output, run_view
from tailrace.protomap import enum_word
from tailrace.v1 import run_pb2

WIDTH = 1000
"""Width of a timeline in its own units."""

_NARROWEST = 3.0
"""Width of the shortest span, so that it can be seen."""

_ATTEMPT = run_pb2.AttemptState.DESCRIPTOR


@dataclass(frozen=True)
class Span:
    """Part of a stage's time: a wait, or an attempt."""

    x: float
    width: float
    kind: str
    """``wait``, or the state of the attempt in upper case."""
    label: str


@dataclass(frozen=True)
class Lane:
    """Stage with its spans."""

    stage: run_pb2.Stage
    state: str
    spans: list[Span]
    note: str
    """Worker and slot of the newest attempt, or the reason for the absence of one."""


def timeline(run: run_pb2.Run, now: float) -> list[Lane]:
    """Return the stages of a run, each with its wait and attempts, up to ``now`` at most."""
    start = _seconds(run.create_time)
    end = _seconds(run.end_time) or now
    scale = WIDTH / max(end - start, 1.0)

    def span(begin: float, until: float, kind: str, label: str) -> Span:
        width = max((until - begin) * scale, _NARROWEST)
        x = min(max((begin - start) * scale, 0.0), WIDTH - width)
        return Span(round(x, 1), round(width, 1), kind, label)

    return [_lane(stage, span, end) for stage in run.stages]


def _lane(stage: run_pb2.Stage, span: Callable[[float, float, str, str], Span], end: float) -> Lane:
    spans: list[Span] = []
    queued = _seconds(stage.queue_time)
    started = _seconds(stage.start_time)
    if queued:
        spans.append(span(queued, started or _seconds(stage.end_time) or end, "wait", "waits"))
    for attempt in stage.attempts:
        state = enum_word(_ATTEMPT, attempt.state).upper()
        took = output.duration(attempt.start_time, attempt.end_time)
        label = f"attempt {attempt.number} on {_place(attempt)}, {state}, {took}"
        until = _seconds(attempt.end_time) or end
        spans.append(span(_seconds(attempt.start_time), until, state, label))
    return Lane(stage, run_view.stage_state(stage), spans, _note(stage))


def _note(stage: run_pb2.Stage) -> str:
    if stage.cached_from:
        return f"reuses {stage.cached_from}"
    if stage.waiting_reason:
        return stage.waiting_reason
    return _place(stage.attempts[-1]) if stage.attempts else ""


def _place(attempt: run_pb2.Attempt) -> str:
    return f"{attempt.worker.removeprefix('workers/')} {attempt.slot}"


def _seconds(value: Timestamp) -> float:
    return value.seconds + value.nanos / 1e9


@dataclass
class Pace:
    """Speed of one attempt since its first completed unit: compilation is not part of it."""

    _first: tuple[int, float] | None = field(default=None)

    def to_go(self, done: int, total: int, now: float) -> str:
        """Return `` · 1m05s to go``; empty until two values are known."""
        if not done:
            return ""
        if self._first is None:
            self._first = (done, now)
            return ""
        first, since = self._first
        if done <= first or now <= since:
            return ""
        seconds = round((total - done) * (now - since) / (done - first))
        end = Timestamp(seconds=1 + max(seconds, 0))
        return f" · {output.duration(Timestamp(seconds=1), end)} to go"
