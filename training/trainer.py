"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tailrace.formats.certificate import Certificate, flatten
from tailrace.formats.run_spec import TrainSpec
from training.certificate import certify
from training.checkpoint import Checkpoint, load_checkpoint, restore, to_host
from training.checkpoint_writer import CheckpointWriter
from training.data import Batch, BatchStream
from training.errors import CheckpointError, DivergedError, StoppedError
from training.losses import response_cross_entropy
from training.models.family import Model, Params
from training.observer import MetricPoint, Observer, StopRequest
from training.optimizer import learning_rate, make_optimizer
from training.provenance import environment
from training.runtime import device_name
from training.sharding import Layout, make_mesh

State = tuple[Params, Any]
"""Parameters and optimizer state."""


@dataclass
class Progress:
    """The loop's counters; they are part of a checkpoint."""

    tokens: int = 0
    """Non-padding tokens seen."""
    first_loss: float | None = None
    """Loss of step 1."""
    window: list[float] = field(default_factory=list)
    """Losses since the last metric point."""
    epoch: list[float] = field(default_factory=list)
    """Losses of the last ``steps_per_epoch`` steps."""

    def add(self, loss: float, per_epoch: int) -> None:
        """Count the loss of one more step."""
        if self.first_loss is None:
            self.first_loss = loss
        self.window.append(loss)
        self.epoch.append(loss)
        del self.epoch[:-per_epoch]

    def take_window(self) -> float:
        """The mean loss since the last call."""
        mean = math.fsum(self.window) / len(self.window)
        self.window.clear()
        return mean

    @property
    def epoch_loss(self) -> float:
        """Mean loss over the last epoch's worth of steps."""
        return math.fsum(self.epoch) / len(self.epoch)


@dataclass(frozen=True)
class Trained:
    """What a training ends with."""

    params: Params
    steps: int
    """Steps done in all."""
    start: int
    """Step this process continued from; 0 for a fresh training."""
    progress: Progress
    seconds: float
    """Wall time of the steps of this process."""


class Trainer:
    """Trains a model on a stream of batches.

    Steps run in compiled calls of ``steps_per_dispatch`` steps, whose boundaries are multiples of
    that number; saves and stops happen there. A resumed training therefore does the same
    arithmetic, call by call, as one that was never interrupted.
    """

    def __init__(
        self,
        model: Model,
        stream: BatchStream,
        spec: TrainSpec,
        identity: dict[str, Any],
    ) -> None:
        if spec.sft is None:
            raise ValueError("the spec names no training method")
        epochs, per_epoch = spec.sft.epochs or 0, stream.steps_per_epoch
        self.total = spec.sft.max_steps or max(1, math.ceil(epochs * per_epoch - 1e-9))
        """Steps of the whole training; the schedule is laid out over them."""
        self._stream = stream
        self._spec = spec
        self._identity = identity
        self._schedule = learning_rate(spec.sft, self.total)
        self._optimizer = make_optimizer(spec.sft, self._schedule)
        mesh = make_mesh(spec.mesh, rows=spec.sft.batch_size)
        self._layout = Layout.of(model.family.model_type, mesh)
        self._steps = compile_steps(model, self._optimizer, self._layout)
        self._rng = jax.random.key(spec.seed)
        self._device = device_name()

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
        :class:`training.errors.DivergedError` when the loss is not finite,
        :class:`training.errors.CheckpointError` and :class:`OSError`.
        """
        state = self._place(params)
        step, progress = 0, Progress()
        if resume is not None:
            state, step, progress = self._restore(resume, state)
        end = min(self.total, last or self.total)
        observer.progress(step, end, "steps")
        observer.check_stop()
        begun, start, saved = time.perf_counter(), step, step
        with CheckpointWriter(checkpoints, self._spec.keep_checkpoints, _told(observer)) as writer:
            while step < end:
                until = min(_next_multiple(step, self._spec.steps_per_dispatch), end)
                state = self._advance(state, step, until, end, progress, observer)
                crossed = _next_multiple(step, self._spec.save_every_steps) <= until
                step = until
                observer.progress(step, end, "steps")
                request = observer.stop_request() if step < end else None
                if crossed or request is StopRequest.RELEASE:
                    writer.save(partial(self._snapshot, state, step, progress))
                    saved = step
                if request is not None:
                    raise StoppedError(released=request is StopRequest.RELEASE)
        if saved != step:
            observer.certificate(certify(self._snapshot(state, step, progress)))
        return Trained(state[0], step, start, progress, time.perf_counter() - begun)

    def _advance(
        self,
        state: State,
        step: int,
        until: int,
        end: int,
        progress: Progress,
        observer: Observer,
    ) -> State:
        begun = time.perf_counter()
        batch, tokens = self._stream.batch(step, until - step)
        state, computed = self._steps(state, batch, step, self._rng)
        losses = [float(loss) for loss in np.asarray(computed)]
        speed = tokens / (time.perf_counter() - begun)
        progress.tokens += tokens
        for number, loss in enumerate(losses, start=step + 1):
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} at step {number}: lower train.sft.learning_rate, add "
                    "warmup_steps, or set gradient_clip"
                )
            progress.add(loss, self._stream.steps_per_epoch)
            if number == 1 or number == end or number % self._spec.log_every_steps == 0:
                observer.metric(self._point(number, progress, speed))
        return state

    def _point(self, step: int, progress: Progress, speed: float) -> MetricPoint:
        return MetricPoint(
            step=step,
            epoch=round(step / self._stream.steps_per_epoch, 4),
            loss=progress.take_window(),
            learning_rate=float(self._schedule(step - 1)),
            tokens_per_second=round(speed, 1),
            timestamp=time.time(),
            device=self._device,
        )

    def _place(self, params: Params) -> State:
        # A copy, because the compiled steps consume what they are given.
        params = self._layout.place(params)
        shardings = self._layout.shardings(jax.eval_shape(self._optimizer.init, params))
        return params, jax.jit(self._optimizer.init, out_shardings=shardings)(params)

    def _snapshot(self, state: State, step: int, progress: Progress) -> Checkpoint:
        return Checkpoint(
            step=step,
            arrays=to_host(state),
            rng=self._rng_words(),
            progress=asdict(progress),
            identity=self._identity,
            conditions={**flatten(environment()), "mesh": self._layout.name},
        )

    def _rng_words(self) -> list[int]:
        return [int(word) for word in np.asarray(jax.random.key_data(self._rng))]

    def _restore(self, path: Path, template: State) -> tuple[State, int, Progress]:
        saved = load_checkpoint(path, self._identity)
        if saved.rng != self._rng_words():
            raise CheckpointError(f"{path} was made with another random number generator of JAX")
        return restore(saved, template, path), saved.step, Progress(**saved.progress)


def compile_steps(
    model: Model, optimizer: optax.GradientTransformation, layout: Layout
) -> Callable[[State, Batch, int, jax.Array], tuple[State, jax.Array]]:
    """The compiled optimizer steps.

    The function takes the state (whose buffers it reuses), K stacked batches, the number of steps
    done before, and the root key of dropout; it returns the new state and K losses.
    """

    def loss_of(params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        decoder = model.bind(params)
        length = batch.tokens.shape[-1]
        # Padding is on the right, where a causal mask keeps it out of every real token's sight.
        mask = jnp.tril(jnp.ones((length, length), bool))[None]
        positions = jnp.arange(length)[None]
        hidden, _ = decoder.hidden(batch.tokens, positions, mask, dropout_key=key)
        return response_cross_entropy(decoder.logits(hidden), batch.targets, batch.weights)

    def one(state: State, inputs: tuple[Batch, jax.Array]) -> tuple[State, jax.Array]:
        params, moments = state
        loss, gradients = jax.value_and_grad(loss_of)(params, *inputs)
        updates, moments = optimizer.update(gradients, moments, params)
        return layout.hold((optax.apply_updates(params, updates), moments)), loss

    @partial(jax.jit, donate_argnums=0)
    def many(state: State, batches: Batch, first: int, root: jax.Array) -> tuple[State, jax.Array]:
        numbers = first + jnp.arange(batches.tokens.shape[0])
        keys = jax.vmap(partial(jax.random.fold_in, root))(numbers)
        return jax.lax.scan(one, state, (layout.split(batches, rows=1), keys))

    return many


def _told(observer: Observer) -> Callable[[int, Path, Certificate], None]:
    def saved(step: int, path: Path, certificate: Certificate) -> None:
        observer.certificate(certificate)
        observer.checkpoint(step, path)

    return saved


def _next_multiple(step: int, size: int) -> int:
    return (step // size + 1) * size
