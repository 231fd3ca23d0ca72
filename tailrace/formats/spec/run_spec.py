"""The run spec: one schema for YAML files, the CLI and the protobuf messages.

The ``train.py`` commands read the ``model`` and ``train`` blocks of it (:class:`TrainConfig`).
Field names equal those of ``protos/tailrace/v1/run_spec.proto``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from tailrace.formats import catalog
from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.resource_id import (
    RESOURCE_ID,
    RESOURCE_ID_FORM,
    RUN_NAME,
    RUN_NAME_FORM,
)
from tailrace.formats.schema import Violation, key
from tailrace.formats.spec.execution_spec import ExecutionSpec, RetrySpec, StageExecution
from tailrace.formats.spec.gate_spec import (
    JUDGED,
    GateDirection,
    GateMetric,
    GateSpec,
    SignificanceBar,
)
from tailrace.formats.spec.infer_spec import InferSpec
from tailrace.formats.spec.judge_spec import JudgeSpec
from tailrace.formats.spec.methods import Overlong, SftSpec
from tailrace.formats.spec.model_spec import ModelSpec
from tailrace.formats.spec.train_spec import (
    AdapterSpec,
    BaseDtype,
    Dtype,
    FinalModel,
    LoraSpec,
    MeshSpec,
    SaveDtype,
    Schedule,
    TrainSpec,
)

__all__ = [
    "RESOURCE_ID",
    "RESOURCE_ID_FORM",
    "StageKind",
    "ModelSpec",
    "TrainSpec",
    "SftSpec",
    "Schedule",
    "Overlong",
    "Dtype",
    "FinalModel",
    "SaveDtype",
    "AdapterSpec",
    "BaseDtype",
    "LoraSpec",
    "MeshSpec",
    "InferSpec",
    "JudgeSpec",
    "GateMetric",
    "GateDirection",
    "SignificanceBar",
    "GateSpec",
    "StageExecution",
    "ExecutionSpec",
    "RetrySpec",
    "TrainConfig",
    "RunSpec",
]

DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
"""A day in ISO 8601."""

# Keys of flat files, which belong into blocks.
_FLAT = {
    "model_name": "model.source or model.preset",
    "model_id": "model.source",
    "num_epochs": "train.epochs",
    "epochs": "train.epochs",
    "max_steps": "train.max_steps",
    "batch_size": "train.batch_size",
    "learning_rate": "train.learning_rate",
    "seed": "train.seed",
}


class StageKind(enum.StrEnum):
    """Kind of a stage, in the order in which a run executes them."""

    TRAIN = "train"
    """Trains the model on the dataset."""
    INFER = "infer"
    """Generates predictions for the eval sets."""
    JUDGE = "judge"
    """Scores the predictions."""


@dataclass(frozen=True)
class TrainConfig:
    """The file of ``training/train_jax.py``: the ``model`` and ``train`` blocks of a run spec."""

    RENAMED: ClassVar[dict[str, str]] = {
        "training": "train",
        "device": "the --device flag",
        "dataset": "the --dataset flag",
        **_FLAT,
    }

    model: ModelSpec = key("The model to start from.")
    train: TrainSpec = key("Settings of the training.")

    def violations(self, path: str) -> list[Violation]:
        """Return a violation if examples may exceed the context of a preset."""
        return _fits_context(self.model, self.train, path)


@dataclass(frozen=True)
class TrainBlocks:
    """Blocks of a run spec that decide what a model sees in training."""

    model: ModelSpec | None = key("The model to start from.", default=None)
    train: TrainSpec | None = key("Settings of the training.", default=None)


@dataclass(frozen=True)
class RunSpec:
    """Specification of a run; a run has no stage for a block that is left out."""

    RENAMED: ClassVar[dict[str, str]] = {
        "training": "train",
        "evaluation": "infer",
        "judge": "judges",
        **_FLAT,
    }

    model: ModelSpec | None = key(
        "The model to start from. Required unless `predictions` are given.",
        default=None,
        shown_first=True,
    )
    dataset: str | None = key(
        "Dataset: `name` (newest version) or `name@version`. Required by a train block and by "
        "dataset eval sets.",
        default=None,
        minimum=1,
        max_length=80,
        pattern=RESOURCE_ID + r"(@[1-9][0-9]{0,8})?",
        form=f"`name` or `name@version`; a name is {RESOURCE_ID_FORM}, a version a number from 1",
        shown_first=True,
    )
    train: TrainSpec | None = key("The TRAIN stage.", default=None, shown_first=True)
    infer: InferSpec | None = key("The INFER stage.", default=None, shown_first=True)
    predictions: str | None = key(
        "Run (`runs/{run}`) whose predictions are judged, instead of generating new ones. The "
        "new run then has a JUDGE stage alone; the other blocks of its resolved spec are those of "
        "the predictions.",
        default=None,
        minimum=1,
        pattern=RUN_NAME,
        form=RUN_NAME_FORM,
    )
    judges: list[JudgeSpec] = key(
        "The judges of the JUDGE stage.", default=[], max_length=16, shown_first=True
    )
    gates: list[GateSpec] = key(
        "Conditions that are checked once the run has succeeded.",
        default=[],
        max_length=64,
        shown_first=True,
    )
    cache: bool = key(
        "Reuse results of earlier stages with the same inputs: `on` or `off`.",
        default=True,
    )
    execution: ExecutionSpec = key("Pool, timeout and threads per stage.", default=ExecutionSpec())
    retry: RetrySpec = key("The retry policy of every stage.", default=RetrySpec())
    labels: dict[str, str] = key(
        "Free labels to filter by; their names are of a-z, 0-9, '_', '.', '-'.",
        default={},
        max_length=32,
    )
    template_date: str | None = key(
        "Day that chat templates with a clock (`strftime_now`) read, in every stage and attempt "
        "(default: the day on which the run is created, UTC). A resolved spec has it if it was "
        "given, or if the template of an imported model reads a clock.",
        default=None,
        max_length=10,
        pattern=DATE,
        form="a day such as `2026-01-31`",
    )

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of rules that concern several blocks."""
        violations = _fits_context(self.model, self.train, path) + self._date_violations()
        violations += (
            self._stage_violations() + self._dataset_violations() + self._judge_violations()
        )
        return violations + self._gate_violations()

    def _date_violations(self) -> list[Violation]:
        try:
            if self.template_date is not None:
                date.fromisoformat(self.template_date)
        except ValueError as error:
            return [Violation("template_date", str(error))]
        return []

    def _stage_violations(self) -> list[Violation]:
        if self.predictions is not None:
            if self.judges:
                return []
            return [Violation("judges", "name the judges of the predictions")]
        violations: list[Violation] = []
        if self.model is None:
            violations.append(Violation("model", "is required"))
        if self.train is None and self.infer is None:
            violations.append(
                Violation("train", "the run has no stage: give train, infer, or both")
            )
        if self.train is None and self.model is not None and self.model.adapter is not None:
            violations.append(
                Violation("model.adapter", "has no use without a train block: predictions merge it")
            )
        if self.train is None and self.model is not None and self.model.preset is not None:
            violations.append(
                Violation("model.preset", "starts from random weights: add a train block to use it")
            )
        if self.judges and self.infer is None:
            violations.append(Violation("judges", "have nothing to judge without an infer block"))
        if self.infer is not None and self.infer.include_base and self.train is None:
            only = "has no use without a train block: the untouched model is all there is"
            violations.append(Violation("infer.include_base", only))
        return violations

    def _dataset_violations(self) -> list[Violation]:
        violations: list[Violation] = []
        eval_sets = self.infer.eval_sets if self.infer else []
        needs_dataset = self.train is not None or any(s.startswith("dataset:") for s in eval_sets)
        if needs_dataset and self.dataset is None:
            violations.append(
                Violation("dataset", "is required by train and by dataset: eval sets")
            )
        held_out = self.train is not None and self.train.eval_fraction > 0
        if "dataset:held_out" in eval_sets and not held_out:
            violations.append(
                Violation(
                    "infer.eval_sets",
                    "dataset:held_out is empty: it needs a train block with eval_fraction above 0",
                )
            )
        return violations

    def _judge_violations(self) -> list[Violation]:
        names = [judge.name for judge in self.judges]
        violations = [
            Violation(f"judges[{i}].name", f"{name!r} is named twice")
            for i, name in enumerate(names)
            if name in names[:i]
        ]
        # With predictions of another run only the control plane knows the infer block.
        paired = self.infer is None or self.infer.include_base
        for i, judge in enumerate(self.judges):
            if judge.compares_with_base() and not paired:
                nothing = "has nothing to compare with: set baseline, or infer.include_base"
                violations.append(Violation(f"judges[{i}].{judge.name}", nothing))
        return violations

    def _gate_violations(self) -> list[Violation]:
        names = [gate.name for gate in self.gates]
        violations = []
        for i, gate in enumerate(self.gates):
            if gate.name in names[:i]:
                violations.append(Violation(f"gates[{i}].name", f"{gate.name!r} is named twice"))
            violations += self._measurable(gate, f"gates[{i}]")
        return violations

    def _measurable(self, gate: GateSpec, path: str) -> list[Violation]:
        """Return violations unless this run has the gate's metric."""
        if gate.metric not in JUDGED:
            return self._has_loss(gate, path)
        violations = []
        judges = [judge.name for judge in self.judges]
        if gate.judge not in judges:
            what = f"{gate.judge!r} is not one of judges: {', '.join(judges)}"
            violations.append(Violation(f"{path}.judge", what))
        if self.infer is None:
            return violations
        if gate.eval_set not in self.infer.eval_sets:
            names = ", ".join(self.infer.eval_sets)
            what = f"{gate.eval_set!r} is not one of infer.eval_sets: {names}"
            violations.append(Violation(f"{path}.eval_set", what))
        if gate.metric is GateMetric.LIFT and not self.infer.include_base:
            violations.append(Violation(f"{path}.metric", "lift needs infer.include_base"))
        roles = {ModelRole.TRAINED} if self.train else {ModelRole.BASE}
        if self.infer.include_base:
            roles.add(ModelRole.BASE)
        if gate.model_role is not None and gate.model_role not in roles:
            what = f"the run has no {gate.model_role} model"
            violations.append(Violation(f"{path}.model_role", what))
        return violations

    def _has_loss(self, gate: GateSpec, path: str) -> list[Violation]:
        if self.train is None or self.predictions is not None:
            return [Violation(f"{path}.metric", f"{gate.metric} needs a train block")]
        if gate.metric is GateMetric.EVAL_LOSS and not self.train.eval_every_steps:
            needs = "eval_loss needs train.eval_every_steps and train.eval_fraction above 0"
            return [Violation(f"{path}.metric", needs)]
        return []

    def stage_judges(self, kind: StageKind) -> list[JudgeSpec]:
        """Return the judges that a stage asks: TRAIN for rewards, JUDGE for verdicts."""
        if kind is StageKind.TRAIN:
            return self.reward_judges
        return self.judges if kind is StageKind.JUDGE else []

    @property
    def reward_judges(self) -> list[JudgeSpec]:
        """The judges whose scores a training learns from."""
        grpo = self.train.grpo if self.train is not None else None
        return [] if grpo is None else grpo.judges

    @property
    def teacher(self) -> str | None:
        """Name of the model that a training learns from; None for methods without one."""
        distill = self.train.distill if self.train is not None else None
        return None if distill is None else distill.teacher

    def stage_kinds(self) -> list[StageKind]:
        """Return the kinds of this run's stages, in execution order."""
        if self.predictions is not None:
            return [StageKind.JUDGE]
        present = {
            StageKind.TRAIN: self.train is not None,
            StageKind.INFER: self.infer is not None,
            StageKind.JUDGE: bool(self.judges),
        }
        return [kind for kind, is_present in present.items() if is_present]


def _fits_context(model: ModelSpec | None, train: TrainSpec | None, path: str) -> list[Violation]:
    context = catalog.PRESETS.get(model.preset or "") if model else None
    if model is None or train is None or context is None or train.max_seq_length <= context:
        return []
    where = ".".join(filter(None, [path, "train.max_seq_length"]))
    return [
        Violation(where, f"{train.max_seq_length} is more than the {context} of {model.preset}")
    ]
