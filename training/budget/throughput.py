"""The speed of a training: tokens per second, utilisation, step times and time to go."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.machine.accelerators import device_memory_peak, host_memory_peak
from training.observer import Speed

WINDOW_STEPS = 1000
"""Number of steps behind the percentiles."""


class Throughput:
    """Stopwatch for compiled calls.

    The first call of a shape includes its compilation, and counts only while there is no other.
    """

    def __init__(
        self,
        flops: Callable[[int], float],
        peak: float | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Start the stopwatch.

        Args:
            flops: Operations per token, by the length of rows.
            peak: Operations per second that all devices can do.
            clock: Clock in seconds.
        """
        self._flops = flops
        self._peak = peak
        self._clock = clock
        self._begun = clock()
        self._compiled: set[tuple[int, ...]] = set()
        self._warm = _Totals()
        self._cold = _Totals()
        self._told = _Totals()
        self._times: deque[float] = deque(maxlen=WINDOW_STEPS)
        self._steps = 0
        self._last = 0.0
        self._compiling = 0.0

    def add(self, shape: tuple[int, ...], seconds: float, tokens: int) -> None:
        """Count a compiled call over ``tokens`` non-padding tokens in rows of [K, B, T]."""
        steps, cold = shape[0], shape not in self._compiled
        self._compiled.add(shape)
        (self._cold if cold else self._warm).add(seconds, tokens, tokens * self._flops(shape[-1]))
        if cold:
            # The time of the steps without compilation is unknown until the next call.
            self._compiling += seconds
        else:
            self._times.extend([seconds / steps] * steps)
            self._steps += steps
        self._last = seconds / steps

    def take(self, steps_to_go: int) -> Speed:
        """Return the figures since the previous call, or those of the previous call again.

        There must have been a compiled call.
        """
        since = self._warm if self._warm.seconds else self._cold
        # The second of two points within one compiled call adds no time to go by.
        since = self._told = since if since.seconds else self._told
        rate = since.tokens / since.seconds if since.seconds else 0.0
        flops = since.flops / since.seconds if since.seconds else 0.0
        self._warm, self._cold = _Totals(), _Totals()
        times = np.asarray(self._times or [self._last])
        p50, p90, p99 = (round(float(p), 6) for p in np.percentile(times, (50, 90, 99)))
        return Speed(
            tokens_per_second=round(rate, 1),
            flops_utilization=round(flops / self._peak, 4) if self._peak else None,
            step_seconds_p50=p50,
            step_seconds_p90=p90,
            step_seconds_p99=p99,
            eta_seconds=self._eta(steps_to_go),
            host_memory_peak_bytes=host_memory_peak(),
            device_memory_peak_bytes=device_memory_peak(),
        )

    def _eta(self, steps_to_go: int) -> float | None:
        """Return the seconds to go, with evaluations and checkpoints; None if unknown."""
        if not steps_to_go:
            return 0.0
        if not self._steps:
            return None
        running = max(0.0, self._clock() - self._begun - self._compiling)
        return round(steps_to_go * running / self._steps, 1)


@dataclass
class _Totals:
    seconds: float = 0.0
    tokens: int = 0
    flops: float = 0.0

    def add(self, seconds: float, tokens: int, flops: float) -> None:
        self.seconds += seconds
        self.tokens += tokens
        self.flops += flops
