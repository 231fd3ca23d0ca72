"""Cost of the largest request of each method, for itself and for other calls."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from services.__main__ import SWITCH_SECONDS
from tailrace.channel import connect
from tests.growth import LINEAR
from tests.largest import Case, Values, cases, prepare, waits
from tests.servers.control_plane import ServedControlPlane

TURNS = 5
"""Maximum number of measurements of each: other programs only make one longer."""

NOTHING_SECONDS = 0.02
"""Processor time that is not worth comparing."""

CALLS = 20
"""Calls of another client meanwhile."""


@pytest.fixture(scope="module")
def plane(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedControlPlane]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    served = ServedControlPlane.on_copy(sqlite_template, tmp_path_factory.mktemp("largest"))
    yield served
    served.stop()
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def channel(plane: ServedControlPlane) -> Iterator[grpc.Channel]:
    with connect(plane.address) as channel:
        yield channel


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
        for _ in range(TURNS):
            seen = waits(plane.address, channel, full, CALLS)
            if seen.prompt:
                break
        else:
            problems.append(f"{full.name}: others wait {seen.slowest:.2f} s")
    assert problems == []


def _growth(channel: grpc.Channel, half: Case, full: Case) -> float:
    """Return the work for a message divided by that for half of it."""
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
