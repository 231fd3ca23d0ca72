from __future__ import annotations

import pytest

from training.budget.throughput import Throughput


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(clock: Clock, peak: float | None = None) -> Throughput:
    return Throughput(lambda length: 10.0 * length, peak, clock)


def call(
    counted: Throughput, clock: Clock, seconds: float, shape: tuple[int, ...] = (2, 4, 8)
) -> None:
    clock.now += seconds
    counted.add(shape, seconds, tokens=64)


def test_compilation_counts_for_nothing_once_there_is_more(clock: Clock) -> None:
    counted = made(clock)
    call(counted, clock, 30.0)
    call(counted, clock, 1.0)
    call(counted, clock, 1.0)
    seen = counted.take(steps_to_go=10)
    assert seen.tokens_per_second == 64
    assert (seen.step_seconds_p50, seen.step_seconds_p99) == (0.5, 0.5)
    assert seen.eta_seconds == 5.0


def test_the_first_point_has_the_compiled_call_to_go_by_and_no_time_to_go(clock: Clock) -> None:
    counted = made(clock)
    call(counted, clock, 32.0)
    seen = counted.take(steps_to_go=2)
    assert (seen.tokens_per_second, seen.step_seconds_p50, seen.eta_seconds) == (2.0, 16.0, None)
    assert counted.take(steps_to_go=0).eta_seconds == 0.0


def test_two_points_of_one_call_have_its_rate(clock: Clock) -> None:
    counted = made(clock)
    call(counted, clock, 32.0)
    assert [counted.take(steps_to_go=2).tokens_per_second for _ in range(2)] == [2.0, 2.0]
    call(counted, clock, 1.0)
    assert [counted.take(steps_to_go=2).tokens_per_second for _ in range(2)] == [64.0, 64.0]


def test_every_new_shape_is_compiled(clock: Clock) -> None:
    counted = made(clock)
    for seconds, shape in ((9.0, (2, 4, 8)), (1.0, (2, 4, 8)), (9.0, (2, 4, 16))):
        call(counted, clock, seconds, shape)
    assert counted.take(0).tokens_per_second == 64


def test_rates_are_since_the_point_before_and_percentiles_are_not(clock: Clock) -> None:
    counted = made(clock)
    for seconds in (5.0, *[1.0] * 9):
        call(counted, clock, seconds)
    counted.take(0)
    call(counted, clock, 4.0)
    seen = counted.take(0)
    assert seen.tokens_per_second == 16
    assert seen.step_seconds_p50 == 0.5
    assert seen.step_seconds_p90 < seen.step_seconds_p99 <= 2.0


def test_what_comes_between_steps_is_in_the_time_to_go(clock: Clock) -> None:
    counted = made(clock)
    call(counted, clock, 30.0)
    call(counted, clock, 1.0)
    clock.now += 3.0
    assert counted.take(steps_to_go=10).eta_seconds == 20.0


def test_utilisation_is_of_all_devices_and_none_without_a_peak(clock: Clock) -> None:
    counted = made(clock, peak=10_240.0)
    call(counted, clock, 1.0)
    # 64 tokens of 80 operations each in one second.
    assert counted.take(0).flops_utilization == 0.5
    without = made(clock)
    call(without, clock, 1.0)
    assert without.take(0).flops_utilization is None
