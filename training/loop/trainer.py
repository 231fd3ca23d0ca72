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
from tailrace.formats.model.families.family import FSDP
from tailrace.formats.spec.run_spec import FinalModel, TrainSpec
from training.budget.dimensions import flops_per_token
from training.budget.throughput import Throughput
from training.checkpoints.certificate import certify
from training.checkpoints.checkpoint import Arrays, Checkpoint, load_checkpoint, restore, to_host
from training.checkpoints.provenance import environment
from training.checkpoints.writer import CheckpointWriter
from training.data.batches import BatchSource
from training.data.example_store import Example
from training.errors import CheckpointError, DivergedError, StoppedError
from training.loop.divergence import explain_divergence, require_finite, require_finite_weights
from training.loop.eval_loss import Evaluator
from training.loop.optimizer import learning_rate, make_optimizer
from training.loop.progress import Progress
from training.loop.router_balance import choose_balance
from training.loop.steps import Computed, State, compile_steps
from training.loop.teacher import Teacher, without_teacher
from training.loop.trainable import choose_trainable
from training.machine.accelerators import peak_flops
from training.machine.runtime import device_name
from training.machine.sharding import DATA, Layout, make_mesh, require_experts
from training.models.family import LazyParams, Model, Params, ParamsMapping
from training.models.stored_weights import Weights
from training.models.unpacked import Slots
from training.objectives.objective import Objective
from training.observer import EvalPoint, MetricPoint, Observer, StopRequest

_log = logging.getLogger(__name__)


@dataclass
class TrainState:
    """State of a training between two steps; all of it but ``saved`` is in a checkpoint."""

    values: State
    step: int
    """Optimizer steps done."""
    progress: Progress
    best: dict[str, NDArray[Any]] | None
    """Copy of the best step's trained values on the host; None unless the spec wants them."""
    saved: int | None = None
    """Step of the newest checkpoint, which may still be in flight to the disk."""
    updates: int = 0
    """Number of updates behind the weights that the newest figures were computed with."""


@dataclass(frozen=True)
class TrainOutcome:
    """Outcome of a training."""

    params: Params
    """Trained values of the last or the best step, as the spec chooses."""
    frozen: Params
    """Frozen values in the type that the model computes in."""
    steps: int
    """Number of steps in all."""
    start: int
    """Step that this process continued from; 0 for a fresh training."""
    progress: Progress
    seconds: float
    """Wall time of this process's steps."""
    stopped_early: bool
    """True if the training ended because the evaluation loss no longer fell."""


class Trainer:
    """Training of a model on the batches of a source.

    Steps run in compiled calls of :attr:`.TrainSpec.call_steps` steps, whose boundaries are
    multiples of that number; evaluations, saves and stops happen there. A resumed training
    therefore does the same arithmetic, call by call, as an uninterrupted one. Sources that sample
    the model do so between the calls.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        source: BatchSource,
        spec: TrainSpec,
        identity: dict[str, Any],
        held_out: Sequence[Example] = (),
        reference: Arrays | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        """Lay out the training over the devices and prepare its compiled functions.

        Args:
            model: The model.
            objective: The training method.
            source: The batches of the train part.
            spec: The settings.
            identity: See :class:`training.checkpoints.checkpoint.Checkpoint`.
            held_out: Examples for evaluations.
            reference: See :class:`training.checkpoints.checkpoint.Checkpoint`.
            teacher: The teacher of a distillation.

        Raises:
            ConfigError: The settings do not fit the model, the examples or the devices.
        """
        epochs, per_epoch = spec.epochs or 0, source.steps_per_epoch
        self.total = spec.max_steps or max(1, math.ceil(epochs * per_epoch - 1e-9))
        """Number of steps in the whole training, over which the schedule runs."""
        self.trainable = choose_trainable(model, spec)
        """Division of the weights into trained and frozen values."""
        self._source = source
        self._held_out = held_out
        self._spec = spec
        self._identity = {**identity, "dtype": str(self.trainable.dtype)}
        self._reference = reference or {}
        self.teacher = teacher
        """The teacher of a distillation."""
        self._schedule = learning_rate(spec, self.total)
        self._optimizer = make_optimizer(spec, self._schedule)
        require_experts(spec.mesh, model.dimensions.experts)
        mesh = make_mesh(spec.mesh, spec.micro_batch_size or spec.step_rows)
        self.layout = Layout.of(model.family.model_type, mesh)
        """Layout of all arrays over the devices."""
        self._multiple = spec.micro_batch_size or mesh.shape[DATA] * mesh.shape[FSDP]
        self.slots = Slots.of(source.batch_size, source.longest)
        """Sizes for attention by example."""
        self._steps = compile_steps(
            objective,
            self.trainable,
            self._optimizer,
            self.layout,
            spec.micro_batch_size,
            remat=spec.remat,
            slots=self.slots,
            balance=choose_balance(model, spec),
            teacher=teacher,
        )
        self._evaluator = Evaluator(
            objective, self.trainable, self.layout, held_out, spec, self._multiple, teacher
        )
        self._rng = jax.random.key(spec.seed)
        self._device = device_name()
        self._flops = partial(flops_per_token, model, trained=self.trainable.parameters)

    def train(
        self,
        weights: Weights,
        checkpoints: Path,
        observer: Observer,
        resume: Path | None = None,
        last: int | None = None,
    ) -> TrainOutcome:
        """Train from ``weights`` to the end, or to step ``last``.

        ``resume`` is a checkpoint to continue from.

        Raises:
            StoppedError: The observer requests a stop.
            DivergedError: A loss, a gradient or a weight is not finite.
            NotFiniteError: The same before any update.
            CheckpointError: ``resume`` is unusable.
            ModelConfigError: A file of weights is damaged, or a value is not finite.
            DoesNotFitError: There is not enough memory for the weights.
            OSError: A checkpoint cannot be written.
        """
        state, frozen = self._begin(weights, resume)
        end = min(self.total, last or self.total)
        observer.progress(state.step, end, "steps")
        observer.check_stop()
        self._throughput = self._stopwatch()
        begin, first = time.perf_counter(), state.step
        keep, report = self._spec.keep_checkpoints, _reporter(observer)
        with CheckpointWriter(checkpoints, keep, report, state.saved) as writer:
            try:
                while state.step < end and not self._is_stale(state):
                    self._run_call(state, frozen, end, observer, writer)
                require_finite_weights(state.values[0], state.step)
            except DivergedError as error:
                raise explain_divergence(error, writer.newest(), state.updates) from error
        _log.info("the training waited %.2f s for its checkpoints", writer.wait_seconds)
        if state.saved != state.step:
            observer.certificate(certify(self._snapshot(state)))
        final = self._final_values(state)
        seconds = time.perf_counter() - begin
        return TrainOutcome(
            final,
            without_teacher(frozen),
            state.step,
            first,
            state.progress,
            seconds,
            state.step < end,
        )

    def _begin(self, weights: Weights, resume: Path | None) -> tuple[TrainState, Params]:
        # The compiled steps donate the trained values, so nothing else may hold their buffers.
        trained, frozen = self.trainable.start(weights, self.layout)
        if self.teacher is not None:
            frozen |= self.teacher.load(self.layout.mesh, self.trainable.dtype)
        shardings = self.layout.shardings(jax.eval_shape(self._optimizer.init, trained))
        moments = jax.jit(self._optimizer.init, out_shardings=shardings)(trained)
        best = _on_host(trained) if self._spec.final_model is FinalModel.BEST else None
        state = TrainState((trained, moments), 0, Progress(), best)
        if resume is not None:
            self._restore(state, resume)
        return state, frozen

    def merge(self, outcome: TrainOutcome, weights: Weights) -> ParamsMapping:
        """Return all weights of the trained model in float32; it started from ``weights``.

        Each is computed when it is read, so that the whole model is never in memory twice.
        """
        if not outcome.frozen:
            return outcome.params
        if self.trainable.is_exact:
            return self.trainable.merge(outcome.params, outcome.frozen)
        base = LazyParams(list(outcome.frozen), weights.array)
        return self.trainable.merge(outcome.params, base)

    def _run_call(
        self,
        state: TrainState,
        frozen: Params,
        end: int,
        observer: Observer,
        writer: CheckpointWriter,
    ) -> None:
        """Run one compiled call, then the evaluation, save or stop that is due."""
        until = min(_next_multiple(state.step, self._spec.call_steps), end)
        save = _next_multiple(state.step, self._spec.save_every_steps) <= until
        every = self._spec.eval_every_steps
        # The last step counts, too, but not where ``last`` cuts the training short.
        evaluate = every > 0 and (_next_multiple(state.step, every) <= until or until == self.total)
        self._advance(state, frozen, until, end, observer)
        if evaluate:
            self._evaluate(state, frozen, observer)
        observer.progress(state.step, end, "steps")
        ends = state.step == end or self._is_stale(state)
        request = None if ends else observer.stop_request()
        if save or request is StopRequest.RELEASE:
            require_finite_weights(state.values[0], state.step)
            writer.save(partial(self._snapshot, state), best=state.progress.best_step)
            state.saved = state.step
        if request is not None:
            raise StoppedError(released=request is StopRequest.RELEASE)

    def _advance(
        self, state: TrainState, frozen: Params, until: int, end: int, observer: Observer
    ) -> None:
        first, count = state.step, until - state.step
        live = (state.values[0], frozen)
        begin = time.perf_counter()
        batches = self._source.batches(first, count, self._multiple, live)
        if batches.rows is None:
            computed = Computed(jnp.zeros(count), jnp.zeros(count), {})
        else:
            state.values, computed = self._steps(
                state.values, frozen, batches.rows, first, self._rng
            )
        losses, norms, metrics = jax.tree.map(lambda values: np.asarray(values).tolist(), computed)
        if batches.rows is not None:
            shape = batches.rows.tokens.shape
            seconds = time.perf_counter() - begin - batches.seconds
            self._throughput.add(shape, seconds, batches.tokens)
        state.progress.tokens += batches.tokens
        for index, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
            state.updates = first + index
            state.step = first + index + 1
            require_finite("loss", loss, state.step)
            require_finite("gradient norm", norm, state.step)
            values = {name: series[index] for name, series in metrics.items()}
            state.progress.add(loss, self._source.steps_per_epoch, values | batches.metrics)
            if state.step in (1, end) or state.step % self._spec.log_every_steps == 0:
                observer.metric(self._point(state.step, end, state.progress))
        state.updates = state.step

    def _evaluate(self, state: TrainState, frozen: Params, observer: Observer) -> None:
        examples = self._source.held_out(self._held_out, (state.values[0], frozen))
        figures = self._evaluator.figures(state.values[0], frozen, examples)
        loss = figures.loss
        require_finite("evaluation loss", loss, state.step)
        better = state.progress.add_evaluation(
            state.step, loss, self._spec.early_stopping_min_delta
        )
        if better and state.best is not None:
            state.best = _on_host(state.values[0])
        epoch, now = self._epoch(state.step), time.time()
        point = EvalPoint(state.step, epoch, loss, better, now, figures.metrics)
        observer.evaluation(point)
        if self._is_stale(state) and state.step < self.total:
            _log.info(
                "training ends at step %d: the evaluation loss has not fallen for %d evaluations; "
                "it was lowest at step %d",
                state.step,
                state.progress.stale,
                state.progress.best_step,
            )

    def _is_stale(self, state: TrainState) -> bool:
        patience = self._spec.early_stopping_patience
        return 0 < patience <= state.progress.stale

    def _final_values(self, state: TrainState) -> Params:
        """Return the trained values of the last or the best step."""
        if state.best is None or state.progress.best_step is None:
            return state.values[0]
        return self.layout.place({name: jnp.asarray(v) for name, v in state.best.items()})

    def _epoch(self, step: int) -> float:
        return round(step / self._source.steps_per_epoch, 4)

    def _stopwatch(self) -> Throughput:
        devices = list(self.layout.mesh.devices.flat)
        peak = peak_flops(devices[0])
        return Throughput(self._flops, peak * len(devices) if peak else None)

    def _point(self, step: int, end: int, progress: Progress) -> MetricPoint:
        loss, metrics = progress.take_window()
        return MetricPoint(
            step=step,
            epoch=self._epoch(step),
            loss=loss,
            metrics=metrics,
            learning_rate=float(self._schedule(step - 1)),
            timestamp=time.time(),
            device=self._device,
            **asdict(self._throughput.take(end - step)),
        )

    def _snapshot(self, state: TrainState) -> Checkpoint:
        return Checkpoint(
            step=state.step,
            arrays=to_host((*state.values, state.best)),
            rng=self._rng_words(),
            progress=asdict(state.progress),
            identity=self._identity,
            conditions={**flatten(environment()), "mesh": self.layout.name},
            reference=self._reference,
        )

    def _rng_words(self) -> list[int]:
        return [int(word) for word in np.asarray(jax.random.key_data(self._rng))]

    def _restore(self, state: TrainState, path: Path) -> None:
        checkpoint = load_checkpoint(path, self._identity)
        if checkpoint.rng != self._rng_words():
            raise CheckpointError(f"{path} was made with another random number generator of JAX")
        *values, state.best = restore(checkpoint, (*state.values, state.best), path)
        state.values = (values[0], values[1])
        state.step = state.saved = checkpoint.step
        state.progress = Progress(**checkpoint.progress)


def _reporter(observer: Observer) -> Callable[[int, Path, Certificate], None]:
    def report(step: int, path: Path, certificate: Certificate) -> None:
        observer.certificate(certificate)
        observer.checkpoint(step, path)

    return report


def _on_host(params: Params) -> dict[str, NDArray[Any]]:
    return {name: np.array(value) for name, value in params.items()}


def _next_multiple(step: int, size: int) -> int:
    return (step // size + 1) * size
