"""The interface to observe the library's work and to stop it."""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from tailrace.formats.certificate import Certificate
from tailrace.formats.data.prediction import Prediction
from tailrace.formats.data.verdict import Verdict
from training.errors import StoppedError

_log = logging.getLogger(__name__)


EVALUATION = "eval_"
"""Prefix of a metric's name for its value over the held-out examples."""


class StopRequest(enum.Enum):
    """Request to end the work."""

    CANCEL = "cancel"
    """End at the next boundary; the state may be lost."""
    RELEASE = "release"
    """Save the state at the next boundary, then end."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Speed and memory of a training at a metric point."""

    tokens_per_second: float
    """Non-padding tokens per second since the previous point."""
    flops_utilization: float | None
    """Model FLOPs utilisation (PaLM, Chowdhery et al., arXiv:2204.02311, appendix B): operations
    that the model needs for these tokens, over the devices' bfloat16 peak; None without a peak."""
    step_seconds_p50: float
    """Median time of the newest steps; all steps of a compiled call have its mean time."""
    step_seconds_p90: float
    """90th percentile of these times."""
    step_seconds_p99: float
    """99th percentile of these times."""
    eta_seconds: float | None
    """Time to go at the pace so far, with evaluations and checkpoints but without compilation; None
    while every call so far included a compilation, so that the pace is unknown."""
    host_memory_peak_bytes: int
    """Peak of this process's resident bytes."""
    device_memory_peak_bytes: int | None
    """Peak of bytes in use on the fullest device; None if devices do not count them."""


@dataclass(frozen=True, kw_only=True)
class MetricPoint(Speed):
    """One line of metrics.jsonl."""

    step: int
    """Optimizer steps so far."""
    epoch: float
    """Passes over the train part so far."""
    loss: float
    """Mean loss since the previous point."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Means of the training method's metrics since the previous point, by name."""
    learning_rate: float
    """Learning rate of the step."""
    timestamp: float
    """Seconds since the epoch."""
    device: str
    """Kind of device (`cpu`, `NVIDIA H100`)."""


@dataclass(frozen=True)
class EvalPoint:
    """One evaluation on the held-out part, also a line of metrics.jsonl."""

    step: int
    """Optimizer steps so far."""
    epoch: float
    """Passes over the train part so far."""
    eval_loss: float
    """Mean loss over the held-out examples."""
    best: bool
    """True if the loss is the lowest so far."""
    timestamp: float
    """Seconds since the epoch."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The training method's metrics over the held-out examples, by name."""


class Observer:
    """Observer that does nothing and never stops; a base class."""

    def metric(self, point: MetricPoint) -> None:
        """Receive a metric point."""

    def evaluation(self, point: EvalPoint) -> None:
        """Receive an evaluation on the held-out part."""

    def progress(self, done: int, total: int, unit: str) -> None:
        """Receive progress: ``done`` of ``total`` ``steps``, ``predictions`` or ``verdicts``."""

    def checkpoint(self, step: int, path: Path) -> None:
        """Receive a complete checkpoint; called in the thread that wrote it."""

    def certificate(self, certificate: Certificate) -> None:
        """Receive the certificate of a saved state or of the last one."""

    def rollouts(self, step: int, path: Path) -> None:
        """Receive a complete file of rollouts, and return once it is durable.

        Raises:
            StoppedError: There is a request to end the work.
        """

    def find_reference(self, key: str, path: Path) -> bool:
        """Write another run's log-probabilities with this key to a file, if there are any.

        Raises:
            StoppedError: There is a request to end the work.
        """
        return False

    def reference(self, key: str, path: Path) -> None:
        """Receive a complete file of log-probabilities, and return once it is durable.

        Raises:
            StoppedError: There is a request to end the work.
        """

    def prediction(self, prediction: Prediction) -> None:
        """Receive a prediction."""

    def verdict(self, verdict: Verdict) -> None:
        """Receive a verdict."""

    def stop_request(self) -> StopRequest | None:
        """Return a request to end the work, which is checked at every boundary."""
        return None

    def check_stop(self) -> None:
        """Raise if there is a request to end the work.

        Raises:
            StoppedError: There is a request.
        """
        request = self.stop_request()
        if request is not None:
            raise StoppedError(released=request is StopRequest.RELEASE)


class Observers(Observer):
    """Several observers, called in order; the first request to stop counts."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def metric(self, point: MetricPoint) -> None:
        """Call all observers."""
        for observer in self._observers:
            observer.metric(point)

    def evaluation(self, point: EvalPoint) -> None:
        """Call all observers."""
        for observer in self._observers:
            observer.evaluation(point)

    def progress(self, done: int, total: int, unit: str) -> None:
        """Call all observers."""
        for observer in self._observers:
            observer.progress(done, total, unit)

    def checkpoint(self, step: int, path: Path) -> None:
        """Call all observers."""
        for observer in self._observers:
            observer.checkpoint(step, path)

    def certificate(self, certificate: Certificate) -> None:
        """Call all observers."""
        for observer in self._observers:
            observer.certificate(certificate)

    def rollouts(self, step: int, path: Path) -> None:
        """Call all observers."""
        for observer in self._observers:
            observer.rollouts(step, path)

    def find_reference(self, key: str, path: Path) -> bool:
        """Ask the observers until one has them."""
        return any(observer.find_reference(key, path) for observer in self._observers)

    def reference(self, key: str, path: Path) -> None:
        """Call all observers."""
        for observer in self._observers:
            observer.reference(key, path)

    def prediction(self, prediction: Prediction) -> None:
        """Call all observers."""
        for observer in self._observers:
            observer.prediction(prediction)

    def verdict(self, verdict: Verdict) -> None:
        """Call all observers."""
        for observer in self._observers:
            observer.verdict(verdict)

    def stop_request(self) -> StopRequest | None:
        """Return the first request of an observer."""
        return next(filter(None, (observer.stop_request() for observer in self._observers)), None)


class LoggingObserver(Observer):
    """Observer that logs a line for each metric point, evaluation and checkpoint."""

    def __init__(self) -> None:
        self._total = 0

    def metric(self, point: MetricPoint) -> None:
        """Log the figures of a point."""
        used, to_go = point.flops_utilization, point.eta_seconds
        _log.info(
            "step %*d/%d  epoch %6.2f  loss %.4f  lr %.2e  %s tokens/s%s%s",
            len(str(self._total)),
            point.step,
            self._total,
            point.epoch,
            point.loss,
            point.learning_rate,
            f"{point.tokens_per_second:,.0f}",
            "" if to_go is None else f"  {timedelta(seconds=round(to_go))} to go",
            "" if used is None else f"  {used:.1%} of peak",
        )

    def evaluation(self, point: EvalPoint) -> None:
        """Log loss and metrics of the held-out part."""
        best = " (the lowest so far)" if point.best else ""
        metrics = "".join(f"  {name} {value:.4f}" for name, value in point.metrics.items())
        _log.info("step %d  held-out loss %.4f%s%s", point.step, point.eval_loss, best, metrics)

    def progress(self, done: int, total: int, unit: str) -> None:
        """Store the total."""
        if unit == "steps":
            self._total = total

    def checkpoint(self, step: int, path: Path) -> None:
        """Log the path of the checkpoint."""
        _log.info("checkpoint of step %d: %s/%s", step, path.parent.name, path.name)
