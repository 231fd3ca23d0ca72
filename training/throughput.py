"""How fast a training is: tokens per second, utilisation, step times, time to go."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from training.accelerators import device_memory_peak, host_memory_peak

WINDOW_STEPS = 1000
"""How many of the newest steps the percentiles are of."""


@dataclass(frozen=True)
class Speed:
    """The numbers of a metric point."""

    tokens_per_second: float
    """Non-padding tokens per second since the point before."""
    flops_utilization: float | None
    """Model FLOPs utilisation (PaLM, Chowdhery et al., arXiv:2204.02311, appendix B): operations
    that the model needs for these tokens, over the devices' bfloat16 peak. None without a peak."""
    step_seconds_p50: float
    """Median of the newest steps' times; steps of one compiled call have its mean."""
    step_seconds_p90: float
    """Their 90th percentile."""
    step_seconds_p99: float
    """Their 99th percentile."""
    eta_seconds: float
    """Time to go at the pace so far, evaluations and checkpoints included, compilation not."""
    host_memory_peak_bytes: int
    """The most resident bytes of this process so far."""
    device_memory_peak_bytes: int | None
    """The most bytes in use so far on the fullest device; None where it is not counted."""


class Throughput:
    """Takes the time of compiled calls.

    The first call of a shape is compiled; it counts only while there is nothing else to go by.
    """

    def __init__(self, peak_flops: float | None, now: float) -> None:
        """``peak_flops`` is that of all devices together, ``now`` a monotonic time in seconds."""
        self._peak = peak_flops
        self._begun = now
        self._compiled: set[Hashable] = set()
        self._warm = _Totals()
        self._cold = _Totals()
        self._times: deque[float] = deque(maxlen=WINDOW_STEPS)
        self._steps = 0
        self._last = 0.0
        self._compiling = 0.0

    def add(
        self, shape: Hashable, seconds: float, steps: int, tokens: int, flops_per_token: float
    ) -> None:
        """Count a compiled call of ``steps`` steps over ``tokens`` non-padding tokens."""
        cold = shape not in self._compiled
        self._compiled.add(shape)
        (self._cold if cold else self._warm).add(seconds, tokens, tokens * flops_per_token)
        if cold:
            # What the steps themselves took is not known; the next call will tell.
            self._compiling += seconds
        else:
            self._times.extend([seconds / steps] * steps)
            self._steps += steps
        self._last = seconds / steps

    def take(self, steps_to_go: int, now: float) -> Speed:
        """The numbers since the last call. Needs at least one call since the beginning."""
        since = self._warm if self._warm.seconds else self._cold
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
            eta_seconds=round(steps_to_go * self._pace(now), 1),
            host_memory_peak_bytes=host_memory_peak(),
            device_memory_peak_bytes=device_memory_peak(),
        )

    def _pace(self, now: float) -> float:
        """Seconds per step, whatever comes between steps included."""
        if not self._steps:
            return self._last
        return max(0.0, now - self._begun - self._compiling) / self._steps


@dataclass
class _Totals:
    seconds: float = 0.0
    tokens: int = 0
    flops: float = 0.0

    def add(self, seconds: float, tokens: int, flops: float) -> None:
        self.seconds += seconds
        self.tokens += tokens
        self.flops += flops
