"""The training loop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tailrace.formats.certificate import Certificate, flatten
from tailrace.formats.spec.run_spec import FinalModel, TrainSpec
from training.budget.dimensions import flops_per_token
from training.budget.throughput import Throughput
from training.checkpoints.certificate import certify
from training.checkpoints.checkpoint import Checkpoint, load_checkpoint, restore, to_host
from training.checkpoints.provenance import environment
from training.checkpoints.writer import CheckpointWriter
from training.data.batches import BatchStream
from training.data.encode import Example
from training.errors import CheckpointError, DivergedError, StoppedError
from training.loop.divergence import require_finite, require_finite_weights, with_way_out
from training.loop.held_out import Evaluator
from training.loop.optimizer import learning_rate, make_optimizer
from training.loop.progress import Progress
from training.loop.steps import State, compile_steps
from training.loop.tuning import choose_tuning
from training.machine.accelerators import peak_flops
from training.machine.runtime import device_name
from training.machine.sharding import DATA, FSDP, Layout, make_mesh
from training.models.family import Model, Params
from training.observer import EvalPoint, MetricPoint, Observer, StopRequest

_log = logging.getLogger(__name__)


@dataclass
class Position:
    """Where a training stands between two steps; all of it is in a checkpoint."""

    state: State
    step: int
    """Optimizer steps done."""
    progress: Progress
    best: dict[str, NDArray[Any]] | None
    """A copy of the trained values of the best step on the host, where they are asked for."""
    saved: int | None = None
    """Step of the newest checkpoint, which may still be on its way to the disk."""
    updates: int = 0
    """Updates of the weights that the newest values were computed with."""


@dataclass(frozen=True)
class Trained:
    """What a training ends with."""

    params: Params
    """Trained values, of the last or the best step as the spec asks."""
    steps: int
    """Steps done in all."""
    start: int
    """Step this process continued from; 0 for a fresh training."""
    progress: Progress
    seconds: float
    """Wall time of the steps of this process."""
    stopped_early: bool
    """Whether it ended because the evaluation loss no longer fell."""


class Trainer:
    """Trains a model on a stream of batches.

    Steps run in compiled calls of ``steps_per_dispatch`` steps, whose boundaries are multiples of
    that number; evaluations, saves and stops happen there. A resumed training therefore does the
    same arithmetic, call by call, as one that was never interrupted.
    """

    def __init__(
        self,
        model: Model,
        stream: BatchStream,
        spec: TrainSpec,
        identity: dict[str, Any],
        held_out: Sequence[Example] = (),
    ) -> None:
        """``held_out`` is what evaluations are made on. Raises :class:`.ConfigError`."""
        if spec.sft is None:
            raise ValueError("the spec names no training method")
        epochs, per_epoch = spec.sft.epochs or 0, stream.steps_per_epoch
        self.total = spec.sft.max_steps or max(1, math.ceil(epochs * per_epoch - 1e-9))
        """Steps of the whole training; the schedule is laid out over them."""
        self.tuning = choose_tuning(model, spec)
        """What is trained of the model."""
        self._stream = stream
        self._spec = spec
        self._identity = {**identity, "dtype": str(self.tuning.dtype)}
        self._schedule = learning_rate(spec.sft, self.total)
        self._optimizer = make_optimizer(spec.sft, self._schedule)
        rows = spec.sft.micro_batch_size or spec.sft.batch_size
        mesh = make_mesh(spec.mesh, rows)
        self.layout = Layout.of(model.family.model_type, mesh)
        """Where everything lies."""
        self._multiple = spec.sft.micro_batch_size or mesh.shape[DATA] * mesh.shape[FSDP]
        self._steps = compile_steps(
            self.tuning,
            self._optimizer,
            self.layout,
            spec.sft.micro_batch_size,
            remat=spec.remat,
        )
        self._evaluator = Evaluator(self.tuning, self.layout, held_out, spec.sft, self._multiple)
        self._rng = jax.random.key(spec.seed)
        self._device = device_name()
        self._flops = partial(flops_per_token, model, trained=self.tuning.parameters)

    def train(
        self,
        params: Params,
        checkpoints: Path,
        observer: Observer,
        resume: Path | None = None,
        last: int | None = None,
    ) -> Trained:
        """Train from ``params`` to the end, or to step ``last``.

        ``resume`` is a checkpoint to continue from. Raises
        :class:`training.errors.StoppedError` when the observer asks for it,
        :class:`training.errors.DivergedError` when a loss, a gradient or a weight is not finite
        (:class:`training.errors.NotFiniteError` before any update),
        :class:`training.errors.CheckpointError` and :class:`OSError`.
        """
        at, frozen = self._begin(params, resume)
        end = min(self.total, last or self.total)
        observer.progress(at.step, end, "steps")
        observer.check_stop()
        self._throughput = self._stopwatch()
        begun, start = time.perf_counter(), at.step
        keep, told = self._spec.keep_checkpoints, _told(observer)
        with CheckpointWriter(checkpoints, keep, told, at.saved) as writer:
            try:
                while at.step < end and not self._stale(at):
                    self._go_on(at, frozen, end, observer, writer)
                require_finite_weights(at.state[0], at.step)
            except DivergedError as error:
                raise with_way_out(error, writer.newest(), at.updates) from error
        _log.info("the training waited %.2f s for its checkpoints", writer.stalled)
        if at.saved != at.step:
            observer.certificate(certify(self._snapshot(at)))
        kept = self._kept(at)
        seconds = time.perf_counter() - begun
        return Trained(kept, at.step, start, at.progress, seconds, at.step < end)

    def _begin(self, params: Params, resume: Path | None) -> tuple[Position, Params]:
        trained, frozen = self.tuning.start(params)
        # A copy, because the compiled steps consume what they are given.
        trained = self.layout.place(trained)
        shardings = self.layout.shardings(jax.eval_shape(self._optimizer.init, trained))
        moments = jax.jit(self._optimizer.init, out_shardings=shardings)(trained)
        best = _on_host(trained) if self._spec.final_model is FinalModel.BEST else None
        at = Position((trained, moments), 0, Progress(), best)
        if resume is not None:
            self._restore(at, resume)
        return at, jax.device_put(frozen, self.layout.shardings(frozen))

    def _go_on(
        self,
        at: Position,
        frozen: Params,
        end: int,
        observer: Observer,
        writer: CheckpointWriter,
    ) -> None:
        """One compiled call, and what is due after it."""
        until = min(_next_multiple(at.step, self._spec.steps_per_dispatch), end)
        save = _next_multiple(at.step, self._spec.save_every_steps) <= until
        every = self._spec.eval_every_steps
        # The last step counts, too, but not where a training is only cut short.
        evaluate = every > 0 and (_next_multiple(at.step, every) <= until or until == self.total)
        self._advance(at, frozen, until, end, observer)
        if evaluate:
            self._evaluate(at, frozen, observer)
        observer.progress(at.step, end, "steps")
        ends = at.step == end or self._stale(at)
        request = None if ends else observer.stop_request()
        if save or request is StopRequest.RELEASE:
            require_finite_weights(at.state[0], at.step)
            writer.save(partial(self._snapshot, at), best=at.progress.best_step)
            at.saved = at.step
        if request is not None:
            raise StoppedError(released=request is StopRequest.RELEASE)

    def _advance(
        self, at: Position, frozen: Params, until: int, end: int, observer: Observer
    ) -> None:
        begun, first = time.perf_counter(), at.step
        batch, tokens = self._stream.batch(first, until - first, self._multiple)
        at.state, computed = self._steps(at.state, frozen, batch, first, self._rng)
        watched = zip(*(np.asarray(values).tolist() for values in computed), strict=True)
        self._throughput.add(batch.tokens.shape, time.perf_counter() - begun, tokens)
        at.progress.tokens += tokens
        for at.step, (loss, norm) in enumerate(watched, start=first + 1):
            at.updates = at.step - 1
            require_finite("loss", loss, at.step)
            require_finite("gradient norm", norm, at.step)
            at.progress.add(loss, self._stream.steps_per_epoch)
            if at.step in (1, end) or at.step % self._spec.log_every_steps == 0:
                observer.metric(self._point(at.step, end, at.progress))
        at.updates = at.step

    def _evaluate(self, at: Position, frozen: Params, observer: Observer) -> None:
        loss = self._evaluator.loss(at.state[0], frozen)
        require_finite("evaluation loss", loss, at.step)
        better = at.progress.evaluated(at.step, loss, self._spec.early_stopping_min_delta)
        if better and at.best is not None:
            at.best = _on_host(at.state[0])
        observer.evaluation(EvalPoint(at.step, self._epoch(at.step), loss, better, time.time()))
        if self._stale(at) and at.step < self.total:
            _log.info(
                "training ends at step %d: the evaluation loss has not fallen for %d evaluations; "
                "it was lowest at step %d",
                at.step,
                at.progress.stale,
                at.progress.best_step,
            )

    def _stale(self, at: Position) -> bool:
        patience = self._spec.early_stopping_patience
        return 0 < patience <= at.progress.stale

    def _kept(self, at: Position) -> Params:
        """The trained values that the training is for."""
        if at.best is None or at.progress.best_step is None:
            return at.state[0]
        return self.layout.place({name: jnp.asarray(v) for name, v in at.best.items()})

    def _epoch(self, step: int) -> float:
        return round(step / self._stream.steps_per_epoch, 4)

    def _stopwatch(self) -> Throughput:
        devices = list(self.layout.mesh.devices.flat)
        peak = peak_flops(devices[0])
        return Throughput(self._flops, peak * len(devices) if peak else None)

    def _point(self, step: int, end: int, progress: Progress) -> MetricPoint:
        return MetricPoint(
            step=step,
            epoch=self._epoch(step),
            loss=progress.take_window(),
            learning_rate=float(self._schedule(step - 1)),
            timestamp=time.time(),
            device=self._device,
            **asdict(self._throughput.take(end - step)),
        )

    def _snapshot(self, at: Position) -> Checkpoint:
        return Checkpoint(
            step=at.step,
            arrays=to_host((*at.state, at.best)),
            rng=self._rng_words(),
            progress=asdict(at.progress),
            identity=self._identity,
            conditions={**flatten(environment()), "mesh": self.layout.name},
        )

    def _rng_words(self) -> list[int]:
        return [int(word) for word in np.asarray(jax.random.key_data(self._rng))]

    def _restore(self, at: Position, path: Path) -> None:
        saved = load_checkpoint(path, self._identity)
        if saved.rng != self._rng_words():
            raise CheckpointError(f"{path} was made with another random number generator of JAX")
        *state, at.best = restore(saved, (*at.state, at.best), path)
        at.state = (state[0], state[1])
        at.step = at.saved = saved.step
        at.progress = Progress(**saved.progress)


def _told(observer: Observer) -> Callable[[int, Path, Certificate], None]:
    def saved(step: int, path: Path, certificate: Certificate) -> None:
        observer.certificate(certificate)
        observer.checkpoint(step, path)

    return saved


def _on_host(params: Params) -> dict[str, NDArray[Any]]:
    return {name: np.array(value) for name, value in params.items()}


def _next_multiple(step: int, size: int) -> int:
    return (step // size + 1) * size
