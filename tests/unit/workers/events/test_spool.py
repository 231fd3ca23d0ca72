"""The spool: numbered, bounded, empty once acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace.formats.limits import BATCH_BYTES, MAX_EVENTS
from tailrace.v1 import stage_pb2
from workers.events.messages import log_line_event
from workers.events.spool import Spool, SpoolClosedError


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    new_spool = Spool(tmp_path / "spool.db", 1024 * 1024)
    yield new_spool
    new_spool.close()


def texts(bodies: list[bytes]) -> list[str]:
    return [stage_pb2.StageEvent.FromString(body).log.text for body in bodies]


def test_events_come_back_in_order_until_acknowledged(spool: Spool) -> None:
    assert [spool.append(log_line_event(str(i))) for i in range(5)] == [1, 2, 3, 4, 5]
    assert texts(spool.batch(2)) == ["1", "2", "3", "4"]
    spool.acknowledge(3)
    spool.acknowledge(1)
    assert (spool.acknowledged, spool.last_sequence) == (3, 5)
    assert texts(spool.batch(1)) == ["3", "4"]
    assert spool.append(log_line_event("5")) == 6
    spool.acknowledge(99)
    assert (spool.acknowledged, spool.batch(1)) == (6, [])


def test_batches_keep_to_the_contract(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "large.db", 100 * BATCH_BYTES)
    for i in range(MAX_EVENTS + 5):
        spool.append(log_line_event(str(i)))
    assert len(spool.batch(1)) == MAX_EVENTS
    last = spool.append(log_line_event("x" * (2 * BATCH_BYTES)))
    spool.append(log_line_event("after"))
    assert len(spool.batch(last - 2)) == 2, "the large one would break the limit"
    assert len(spool.batch(last)) == 1, "a large one travels alone"
    spool.close()


def test_a_full_spool_blocks_until_there_is_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "small.db", 1000)
    spool.append(log_line_event("x" * 2000))
    appended: list[int] = []
    thread = threading.Thread(target=lambda: appended.append(spool.append(log_line_event("y"))))
    thread.start()
    time.sleep(0.1)
    assert appended == []
    spool.acknowledge(1)
    thread.join(2)
    assert appended == [2]
    spool.close()


def test_closing_frees_whoever_waits(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "small.db", 1)
    spool.append(log_line_event("x"))
    errors: list[Exception] = []

    def append() -> None:
        try:
            spool.append(log_line_event("y"))
        except SpoolClosedError as error:
            errors.append(error)

    thread = threading.Thread(target=append)
    thread.start()
    time.sleep(0.05)
    spool.close()
    thread.join(2)
    assert len(errors) == 1
    assert spool.batch(1) == []
    with pytest.raises(SpoolClosedError):
        spool.append(log_line_event("z"))


def test_a_disk_that_takes_nothing_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"no database " * 1000)
    with pytest.raises(OSError, match="cannot be stored"):
        Spool(tmp_path / "spool.db", 1000)
