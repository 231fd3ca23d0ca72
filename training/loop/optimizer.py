"""The optimizer: AdamW with warm-up, a schedule and gradient clipping."""

from __future__ import annotations

import optax

from tailrace.formats.spec.run_spec import Schedule, TrainSpec
from training.errors import ConfigError
from training.models.family import Params


def learning_rate(spec: TrainSpec, total_steps: int) -> optax.Schedule:
    """Return the learning rate of each update, by the number of earlier updates.

    The rate rises linearly over ``warmup_steps`` and then follows the schedule; update number
    ``total_steps`` has the schedule's end value.

    Raises:
        ConfigError: The warm-up is longer than the training.
    """
    if spec.warmup_steps > total_steps:
        raise ConfigError(
            f"train.warmup_steps {spec.warmup_steps} is more than the {total_steps} steps "
            "of this training"
        )
    peak, decay_steps = spec.learning_rate, max(1, total_steps - spec.warmup_steps)
    end = spec.min_learning_rate_ratio
    after = {
        Schedule.CONSTANT: optax.constant_schedule(peak),
        Schedule.LINEAR: optax.linear_schedule(peak, peak * end, decay_steps),
        Schedule.COSINE: optax.cosine_decay_schedule(peak, decay_steps, alpha=end),
    }[spec.schedule]
    warm = optax.linear_schedule(0.0, peak, max(1, spec.warmup_steps))
    joined = optax.join_schedules([warm, after], [spec.warmup_steps])
    # Count from 1, or the first update would have a learning rate of zero and change nothing.
    return lambda count: joined(count + 1)


def make_optimizer(spec: TrainSpec, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Return AdamW (Loshchilov & Hutter, arXiv:1711.05101), preceded by gradient clipping.

    Clipping goes by the global norm; weight decay does not apply to vectors (norms and biases).
    """
    clip = optax.clip_by_global_norm(spec.gradient_clip) if spec.gradient_clip else optax.identity()
    adamw = optax.adamw(
        schedule,
        b1=spec.adam_beta1,
        b2=spec.adam_beta2,
        eps=spec.adam_epsilon,
        weight_decay=spec.weight_decay,
        mask=_matrices,
    )
    return optax.chain(clip, adamw)


def _matrices(params: Params) -> dict[str, bool]:
    return {name: value.ndim > 1 for name, value in params.items()}
