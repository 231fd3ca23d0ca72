"""Output of a stage process becomes events, in order and complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.limits import MAX_LINE_BYTES, MAX_TAIL_LINES
from tailrace.formats.results import JudgeResult
from tailrace.formats.stage_protocol import (
    CheckpointEvent,
    Event,
    ExchangeEvent,
    LogEvent,
    LogLevel,
    MetricEvent,
    ResultEvent,
    RolloutsEvent,
    encode_event,
)
from tailrace.v1 import run_pb2, stage_pb2
from workers.events.attempt_log import AttemptLog
from workers.events.pipe_reader import PipeReader
from workers.events.spool import Spool


@dataclass
class Pipes:
    """Stands where a stage process has its pipes; a test writes to the other ends."""

    events: int
    output: int


class Rig:
    def __init__(self, folder: Path) -> None:
        events, self.to_events = os.pipe()
        output, self.to_output = os.pipe()
        self.spool = Spool(folder / "spool.db", 10**6)
        self.attempt_log = AttemptLog(self.spool, 1000.0)
        self.checkpoints: list[CheckpointEvent] = []
        self.exchange: list[ExchangeEvent] = []
        process: Any = Pipes(events, output)
        self.faults: list[str] = []
        self.reader = PipeReader(
            process,
            self.spool,
            self.attempt_log,
            self.checkpoints.append,
            self.exchange.append,
            self.faults.append,
        )

    def end(self) -> list[stage_pb2.StageEvent]:
        """Close the pipes; returns what was spooled."""
        os.close(self.to_events)
        os.close(self.to_output)
        assert self.reader.join(lambda: False)
        return [stage_pb2.StageEvent.FromString(body) for body in self.spool.batch(1)]

    def send(self, *events: Event) -> None:
        for event in events:
            os.write(self.to_events, encode_event(event).encode() + b"\n")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    new_rig = Rig(tmp_path)
    yield new_rig
    new_rig.spool.close()


def test_events_and_output_are_told_apart(rig: Rig) -> None:
    rig.send(
        LogEvent("two\nlines", LogLevel.ERROR),
        CheckpointEvent(5, "checkpoints/5"),
        RolloutsEvent(6, "rollouts/6"),
        MetricEvent("loss", 1, 2.5, 1.0),
        ResultEvent(judge=JudgeResult()),
    )
    os.write(rig.to_output, b"printed\xff\nno newline")
    events = rig.end()
    logs = [(e.log.text, e.log.level) for e in events if e.HasField("log")]
    error = run_pb2.LOG_LEVEL_ERROR
    level = run_pb2.LOG_LEVEL_INFO
    assert sorted(logs) == [
        ("lines", error),
        ("no newline", level),
        ("printed\ufffd", level),
        ("two", error),
    ]
    assert [e.metric.value for e in events if e.HasField("metric")] == [2.5]
    assert rig.checkpoints == [CheckpointEvent(5, "checkpoints/5")]
    assert rig.exchange == [RolloutsEvent(6, "rollouts/6")]
    assert isinstance(rig.reader.report.final_event, ResultEvent)
    assert rig.reader.report.violation == ""


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"{}",
        b'{"log": {"text": "x"}, "metric": {}}',
        b'{"unknown": {}}',
        b'{"metric": {"name": "loss", "step": 1, "value": "NaN", "time": 1}}',
        b'{"log": {"text": "\xff"}}',
        b"[1]",
        b"",
    ],
)
def test_a_line_that_is_no_event_is_never_passed_over(rig: Rig, line: bytes) -> None:
    os.write(rig.to_events, line + b"\n")
    rig.send(LogEvent("after"))
    events = rig.end()
    assert rig.reader.report.violation
    texts = [e.log.text for e in events]
    assert texts[0].startswith("unreadable event line")
    assert events[0].log.level == run_pb2.LOG_LEVEL_ERROR
    assert texts[-1] == "after"


def test_long_lines_are_capped_and_the_last_ones_kept(rig: Rig) -> None:
    for i in range(30):
        os.write(rig.to_output, f"line {i}\n".encode())
    os.write(rig.to_output, b"x" * 20_000 + b"\n")
    events = rig.end()
    assert len(events) == 31
    assert len(events[-1].log.text.encode()) <= MAX_LINE_BYTES
    tail = rig.attempt_log.tail
    assert len(tail) == MAX_TAIL_LINES
    assert tail[0] == "line 11"
    assert tail[-1] == events[-1].log.text


def test_the_end_of_the_attempt_frees_the_readers(rig: Rig) -> None:
    rig.spool.close()
    os.write(rig.to_output, b"too late\n")
    os.close(rig.to_events)
    assert rig.reader.join(lambda: False)
    with pytest.raises(BrokenPipeError):
        os.write(rig.to_output, b"x")
    os.close(rig.to_output)


def test_joining_can_be_given_up(rig: Rig) -> None:
    assert not rig.reader.join(lambda: True)
    rig.end()


def test_a_full_disk_is_told_and_leaves_no_reader_behind(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[object] = []
    monkeypatch.setattr("threading.excepthook", lambda args: reported.append(args.exc_value))
    rig.spool._database.execute("PRAGMA max_page_count = 1")
    os.write(rig.to_output, b"x" * 8000 + b"\n" + b"y" * 8000 + b"\n")
    os.close(rig.to_events)
    assert rig.reader.join(lambda: False)
    assert len(reported) == 1
    assert rig.faults[0].endswith("database or disk is full")
    with pytest.raises(BrokenPipeError):
        os.write(rig.to_output, b"x")
