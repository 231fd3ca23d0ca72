"""What the largest request of each method costs, and what it costs the others."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tailrace.channel import connect
from tailrace.v1 import run_pb2, run_pb2_grpc
from tests.growth import LINEAR
from tests.largest import RUN, Case, Values, cases, prepare
from tests.servers.control_plane import ServedControlPlane

TURNS = 5
"""Most measurements of each: other programs only ever make one longer."""

NOTHING_SECONDS = 0.02
"""Processor time that is not worth comparing."""

CALLS = 20
"""Calls of another client meanwhile."""


@pytest.fixture(scope="module")
def plane(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedControlPlane]:
    served = ServedControlPlane.on_copy(sqlite_template, tmp_path_factory.mktemp("largest"))
    yield served
    served.stop()


@pytest.fixture(scope="module")
def channel(plane: ServedControlPlane) -> Iterator[grpc.Channel]:
    with connect(plane.address) as made:
        yield made


@pytest.fixture(scope="module")
def values(channel: grpc.Channel) -> Values:
    return prepare(channel)


def test_work_grows_with_the_message_and_others_are_answered(
    plane: ServedControlPlane, channel: grpc.Channel, values: Values
) -> None:
    problems = []
    for half, full in zip(cases(values, 0.5), cases(values, 1.0), strict=True):
        ratio = _growth(channel, half, full)
        if ratio > LINEAR:
            problems.append(f"{full.name}: its work grows {ratio:.1f}-fold")
        waits = [_others(plane.address, channel, full)]
        while not _is_prompt(*waits[-1]) and len(waits) < TURNS:
            waits.append(_others(plane.address, channel, full))
        if not _is_prompt(*waits[-1]):
            problems.append(f"{full.name}: others wait {waits[-1][0]:.2f} s")
    assert problems == []


def _is_prompt(slowest: float, idle: float) -> bool:
    return slowest <= max(0.25, 50 * idle)


def _growth(channel: grpc.Channel, half: Case, full: Case) -> float:
    """How many times the work of half the message the whole one takes."""
    small, large = [], [_seconds(channel, full)]
    if large[0] < NOTHING_SECONDS:
        return 1.0
    ratio = 0.0
    for _ in range(TURNS):
        small.append(_seconds(channel, half))
        large.append(_seconds(channel, full))
        ratio = (min(large) + NOTHING_SECONDS) / (min(small) + NOTHING_SECONDS)
        if ratio <= LINEAR:
            break
    return ratio


def _seconds(channel: grpc.Channel, case: Case) -> float:
    """Processor time of this process, the control plane's threads included."""
    started = time.process_time()
    case.call(channel)
    return time.process_time() - started


def _others(address: str, channel: grpc.Channel, case: Case) -> tuple[float, float]:
    """The slowest call of another client while the case is repeated, and the idle median."""
    with connect(address) as second:
        runs = run_pb2_grpc.RunServiceStub(second)
        idle = [_get(runs) for _ in range(3)]
        over = threading.Event()

        def repeat() -> None:
            while not over.is_set():
                case.call(channel)

        busy = threading.Thread(target=repeat)
        busy.start()
        slowest = max(_get(runs) for _ in range(CALLS))
        over.set()
        busy.join()
        return slowest, statistics.median(idle)


def _get(runs: run_pb2_grpc.RunServiceStub) -> float:
    started = time.perf_counter()
    runs.GetRun(run_pb2.GetRunRequest(name=f"runs/{RUN}"))
    return time.perf_counter() - started
