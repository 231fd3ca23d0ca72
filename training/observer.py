"""How the library tells what it does, and learns that it shall stop."""

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


class StopRequest(enum.Enum):
    """What somebody outside asks of the work going on."""

    CANCEL = "cancel"
    """End at the next boundary; nothing need be kept."""
    RELEASE = "release"
    """Save what is needed to continue at the next boundary, then end."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a training is and what it takes, as of a metric point."""

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
    eta_seconds: float | None
    """Time to go at the pace so far, evaluations and checkpoints included, compilation not; None
    while all that has run was compiled at the same time, so that no pace is known."""
    host_memory_peak_bytes: int
    """The most resident bytes of this process so far."""
    device_memory_peak_bytes: int | None
    """The most bytes in use so far on the fullest device; None where it is not counted."""


@dataclass(frozen=True, kw_only=True)
class MetricPoint(Speed):
    """One line of metrics.jsonl."""

    step: int
    """Optimizer steps done."""
    epoch: float
    """Passes over the data done."""
    loss: float
    """Mean loss since the point before, in nats per response token."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Means of the training method's own metrics since the point before, by name."""
    learning_rate: float
    """Learning rate of this step."""
    timestamp: float
    """Seconds since the epoch."""
    device: str
    """What it runs on (`cpu`, `NVIDIA H100`)."""


@dataclass(frozen=True)
class EvalPoint:
    """One evaluation on the held-out part; a line of metrics.jsonl, too."""

    step: int
    """Optimizer steps done."""
    epoch: float
    """Passes over the data done."""
    eval_loss: float
    """Mean loss over the held-out response tokens, in nats."""
    best: bool
    """Whether it is the lowest so far."""
    timestamp: float
    """Seconds since the epoch."""


class Observer:
    """Does nothing and never stops; derive from it to show or send what happens."""

    def metric(self, point: MetricPoint) -> None:
        """A metric point was reached."""

    def evaluation(self, point: EvalPoint) -> None:
        """The loss on the held-out part was computed."""

    def progress(self, done: int, total: int, unit: str) -> None:
        """``done`` of ``total`` ``steps``, ``predictions`` or ``verdicts`` are done."""

    def checkpoint(self, step: int, path: Path) -> None:
        """A complete checkpoint lies at ``path``; told from the thread that wrote it."""

    def certificate(self, certificate: Certificate) -> None:
        """The state after a step is certified: one that was saved, or the last one."""

    def prediction(self, prediction: Prediction) -> None:
        """A prediction was made."""

    def verdict(self, verdict: Verdict) -> None:
        """A verdict was reached."""

    def stop_request(self) -> StopRequest | None:
        """Asked at every boundary; an answer ends the work there."""
        return None

    def check_stop(self) -> None:
        """Raise :class:`training.errors.StoppedError` when a stop is asked for."""
        request = self.stop_request()
        if request is not None:
            raise StoppedError(released=request is StopRequest.RELEASE)


class Observers(Observer):
    """Tells several observers, in order; the first that wants to stop is heard."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def metric(self, point: MetricPoint) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.metric(point)

    def evaluation(self, point: EvalPoint) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.evaluation(point)

    def progress(self, done: int, total: int, unit: str) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.progress(done, total, unit)

    def checkpoint(self, step: int, path: Path) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.checkpoint(step, path)

    def certificate(self, certificate: Certificate) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.certificate(certificate)

    def prediction(self, prediction: Prediction) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.prediction(prediction)

    def verdict(self, verdict: Verdict) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.verdict(verdict)

    def stop_request(self) -> StopRequest | None:
        """Ask all."""
        return next(filter(None, (each.stop_request() for each in self._observers)), None)


class LoggingObserver(Observer):
    """Logs a line for each metric point and checkpoint."""

    def __init__(self) -> None:
        self._total = 0

    def metric(self, point: MetricPoint) -> None:
        """Show the curve as numbers."""
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
        """Show the held-out loss."""
        best = " (the lowest so far)" if point.best else ""
        _log.info("step %d  held-out loss %.4f%s", point.step, point.eval_loss, best)

    def progress(self, done: int, total: int, unit: str) -> None:
        """Remember the total."""
        if unit == "steps":
            self._total = total

    def checkpoint(self, step: int, path: Path) -> None:
        """Say where it is."""
        _log.info("checkpoint of step %d: %s/%s", step, path.parent.name, path.name)
