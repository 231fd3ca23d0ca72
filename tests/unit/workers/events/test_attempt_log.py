"""A log that is written faster than its rate says how much of it was dropped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace.v1 import stage_pb2
from workers.events import attempt_log
from workers.events.attempt_log import BURST_SECONDS, AttemptLog
from workers.events.spool import Spool


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    new_clock = Clock()
    monkeypatch.setattr(attempt_log, "time", new_clock)
    return new_clock


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    new_spool = Spool(tmp_path / "spool.db", 10**6)
    yield new_spool
    new_spool.close()


def texts(spool: Spool) -> list[str]:
    return [stage_pb2.StageEvent.FromString(body).log.text for body in spool.batch(1)]


def test_excess_is_counted_and_said_where_it_is_missing(clock: Clock, spool: Spool) -> None:
    log = AttemptLog(spool, 1.0)
    burst = int(BURST_SECONDS)
    for i in range(burst + 5):
        log.write(f"line {i}")
    clock.now += 1.0
    log.write("later")
    stored_lines = [f"line {i}" for i in range(burst)]
    dropped_line = "5 log lines were dropped here: more than 1 a second"
    assert texts(spool) == [*stored_lines, dropped_line, "later"]
    log.write("too early")
    assert texts(spool) == [*stored_lines, dropped_line, "later"]
    log.close()
    log.close()
    assert texts(spool)[-1] == "1 log lines were dropped here: more than 1 a second"
    assert len(texts(spool)) == burst + 3
    # The error of a failed stage shows the last lines in any case.
    assert log.tail[-1] == "too early"


def test_silence_makes_room_for_a_burst_and_no_more(clock: Clock, spool: Spool) -> None:
    log = AttemptLog(spool, 2.0)
    clock.now += 3600.0
    for i in range(1000):
        log.write(f"line {i}")
    assert len(texts(spool)) == 2 * BURST_SECONDS
