"""The training methods by the key of their block in the spec."""

from __future__ import annotations

from collections.abc import Callable

from tailrace.formats.spec.train_spec import TrainSpec
from training.objectives.distill import make_distillation
from training.objectives.dpo import DpoObjective
from training.objectives.grpo import GrpoObjective
from training.objectives.kto import KtoObjective
from training.objectives.objective import Objective
from training.objectives.sft import SftObjective

OBJECTIVES: dict[str, Callable[[TrainSpec], Objective]] = {
    "sft": SftObjective,
    "dpo": DpoObjective,
    "kto": KtoObjective,
    "grpo": GrpoObjective,
    "distill": make_distillation,
}
"""By method, such as ``sft``."""


def make_objective(spec: TrainSpec) -> Objective:
    """Return the objective of a spec's method."""
    return OBJECTIVES[spec.method](spec)
