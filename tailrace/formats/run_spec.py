"""The run spec: what a run does, one schema for YAML files, the CLI and the protobuf messages.

The ``train.py`` commands read the ``model`` and ``train`` blocks of it (:class:`TrainConfig`).
Field names equal those of ``protos/tailrace/v1/run_spec.proto``.
"""

from __future__ import annotations

import difflib
import enum
import re
from dataclasses import dataclass
from typing import ClassVar

from tailrace.formats import catalog
from tailrace.formats.schema import Violation, exactly_one, key
from tailrace.formats.train_spec import (
    AdapterSpec,
    Dtype,
    FinalModel,
    LoraSpec,
    MeshSpec,
    Overlong,
    Schedule,
    SftSpec,
    TrainSpec,
)

__all__ = [
    "RESOURCE_ID",
    "StageKind",
    "ModelSpec",
    "TrainSpec",
    "SftSpec",
    "Schedule",
    "Overlong",
    "Dtype",
    "FinalModel",
    "AdapterSpec",
    "LoraSpec",
    "MeshSpec",
    "InferSpec",
    "JudgeSpec",
    "StageExecution",
    "ExecutionSpec",
    "RetrySpec",
    "TrainConfig",
    "RunSpec",
]

RESOURCE_ID = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
"""A resource id: 1-63 characters, the form of RFC 1034 labels (AIP-122)."""

RESOURCE_ID_FORM = "1-63 of a-z, 0-9, '-', starting with a letter and not ending with '-'"
"""The same in words."""

# Keys of flat files, where blocks are wanted.
_FLAT = {
    "model_name": "model.source or model.preset",
    "model_id": "model.source",
    "num_epochs": "train.sft.epochs",
    "epochs": "train.sft.epochs",
    "max_steps": "train.sft.max_steps",
    "batch_size": "train.sft.batch_size",
    "learning_rate": "train.sft.learning_rate",
    "seed": "train.seed",
}


class StageKind(enum.StrEnum):
    """The kinds of stage, in the order in which a run executes them."""

    TRAIN = "train"
    """Trains the model on the dataset."""
    INFER = "infer"
    """Generates predictions for the eval sets."""
    JUDGE = "judge"
    """Scores the predictions."""


@dataclass(frozen=True)
class ModelSpec:
    """Where the model comes from: exactly one of ``source`` and ``preset``."""

    RENAMED: ClassVar[dict[str, str]] = {
        "model_id": "model.source",
        "model_name": "model.source or model.preset",
        "name": "model.source or model.preset",
        "max_length": "train.sft.max_seq_length",
    }

    source: str | None = key(
        "A Hugging Face hub id (`distilgpt2`) or an imported model (`models/{model}`).",
        default=None,
        minimum=1,
        max_length=256,
        pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?",
        form=(
            "a hub id such as 'distilgpt2' or 'org/name', nor an imported model 'models/NAME'; "
            "a folder is imported first: tailrace models import FOLDER"
        ),
    )
    preset: str | None = key(
        "A built-in architecture started from random weights (`gpt2-nano`).",
        default=None,
        minimum=1,
        max_length=63,
    )

    def violations(self, path: str) -> list[Violation]:
        """Exactly one of the two must be set."""
        found = exactly_one(path or "model", source=self.source, preset=self.preset)
        if self.preset is not None:
            found += _known(f"{path}.preset", self.preset, tuple(catalog.PRESETS))
        return found


@dataclass(frozen=True)
class InferSpec:
    """The INFER stage: generation over eval sets."""

    max_new_tokens: int = key(
        "Most tokens generated per prompt.", default=64, minimum=1, maximum=65_536
    )
    temperature: float = key(
        "Sampling temperature; 0 is greedy.", default=0.0, minimum=0, maximum=10
    )
    seed: int = key("Seed of sampling.", default=42, minimum=0, maximum=2**31 - 1)
    batch_size: int = key("Prompts generated together.", default=32, minimum=1, maximum=4096)
    eval_sets: list[str] = key(
        "`dataset:train`, `dataset:held_out`, or a named set (`eval_v1`).",
        default=[],
        minimum=1,
        max_length=16,
    )

    def violations(self, path: str) -> list[Violation]:
        """At least one eval set, none twice."""
        if not self.eval_sets:
            return [Violation(f"{path}.eval_sets", "names no eval set")]
        if len(set(self.eval_sets)) < len(self.eval_sets):
            return [Violation(f"{path}.eval_sets", "names an eval set twice")]
        known = catalog.DATASET_EVAL_SETS + catalog.EVAL_SETS
        return [
            violation
            for i, name in enumerate(self.eval_sets)
            for violation in _known(f"{path}.eval_sets[{i}]", name, known)
        ]


@dataclass(frozen=True)
class JudgeSpec:
    """One judge of the JUDGE stage."""

    name: str = key("The judge (`answer_correctness`).", minimum=1, max_length=63)

    def violations(self, path: str) -> list[Violation]:
        """The judge must exist."""
        return _known(f"{path}.name", self.name, catalog.JUDGES)


@dataclass(frozen=True)
class StageExecution:
    """Where and for how long one stage may run."""

    pool: str = key(
        "The pool of slots it asks for.",
        default="cpu",
        minimum=1,
        max_length=63,
        pattern=RESOURCE_ID,
        form=f"a pool's name: {RESOURCE_ID_FORM}",
    )
    timeout: float = key(
        "Longest execution of one attempt.",
        unit="seconds",
        default=86_400.0,
        duration=True,
        minimum=1,
        maximum=30 * 86_400,
    )
    threads: int = key(
        "CPU threads; 0 takes all of the slot's cores.", default=0, minimum=0, maximum=1024
    )


@dataclass(frozen=True)
class ExecutionSpec:
    """Execution settings per stage kind."""

    train: StageExecution = key("The TRAIN stage.", default=StageExecution())
    infer: StageExecution = key("The INFER stage.", default=StageExecution())
    judge: StageExecution = key("The JUDGE stage.", default=StageExecution())


@dataclass(frozen=True)
class RetrySpec:
    """When a failed attempt is followed by another."""

    max_attempts: int = key(
        "Attempts per stage; released ones do not count.", default=3, minimum=1, maximum=100
    )
    initial_backoff: float = key(
        "Wait before the second attempt; doubles from then on.",
        unit="seconds",
        default=1.0,
        duration=True,
        minimum=0,
        maximum=3600,
    )
    max_backoff: float = key(
        "Longest wait.", unit="seconds", default=60.0, duration=True, minimum=0, maximum=86_400
    )


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
    train: TrainSpec = key("How it is trained.")

    def violations(self, path: str) -> list[Violation]:
        """Examples must fit into the model's context, where that is known."""
        return _fits_context(self.model, self.train, path)


@dataclass(frozen=True)
class RunSpec:
    """What a run does; blocks that are left out leave their stage out."""

    RENAMED: ClassVar[dict[str, str]] = {
        "training": "train",
        "evaluation": "infer",
        "judge": "judges",
        **_FLAT,
    }

    model: ModelSpec = key("The model to start from.")
    dataset: str | None = key(
        "`name` (newest version) or `name@version`.",
        default=None,
        minimum=1,
        max_length=80,
        pattern=RESOURCE_ID + r"(@[1-9][0-9]{0,8})?",
        form=f"`name` or `name@version`; a name is {RESOURCE_ID_FORM}, a version a number from 1",
    )
    train: TrainSpec | None = key("The TRAIN stage.", default=None)
    infer: InferSpec | None = key("The INFER stage.", default=None)
    judges: list[JudgeSpec] = key("The judges of the JUDGE stage.", default=[], max_length=16)
    execution: ExecutionSpec = key("Pool, timeout and threads per stage.", default=ExecutionSpec())
    retry: RetrySpec = key("The retry policy of every stage.", default=RetrySpec())
    labels: dict[str, str] = key("Free labels to filter by.", default={}, max_length=32)

    def violations(self, path: str) -> list[Violation]:
        """The stages must be able to feed each other."""
        found = _fits_context(self.model, self.train, path)
        eval_sets = self.infer.eval_sets if self.infer else []
        if self.train is None and self.infer is None:
            found.append(Violation("train", "the run has no stage: give train, infer, or both"))
        if self.train is None and self.model.preset is not None:
            found.append(
                Violation("model.preset", "starts from random weights: add a train block to use it")
            )
        if self.judges and self.infer is None:
            found.append(Violation("judges", "have nothing to judge without an infer block"))
        needs_dataset = self.train is not None or any(s.startswith("dataset:") for s in eval_sets)
        if needs_dataset and self.dataset is None:
            found.append(Violation("dataset", "is required by train and by dataset: eval sets"))
        held_out = self.train is not None and self.train.eval_fraction > 0
        if "dataset:held_out" in eval_sets and not held_out:
            found.append(
                Violation(
                    "infer.eval_sets",
                    "dataset:held_out is empty: it needs a train block with eval_fraction above 0",
                )
            )
        names = [judge.name for judge in self.judges]
        found.extend(
            Violation(f"judges[{i}].name", f"{name!r} is named twice")
            for i, name in enumerate(names)
            if name in names[:i]
        )
        return found

    def stage_kinds(self) -> list[StageKind]:
        """The kinds of this run's stages, in execution order."""
        present = {
            StageKind.TRAIN: self.train is not None,
            StageKind.INFER: self.infer is not None,
            StageKind.JUDGE: bool(self.judges),
        }
        return [kind for kind, there in present.items() if there]


def _fits_context(model: ModelSpec, train: TrainSpec | None, path: str) -> list[Violation]:
    context = catalog.PRESETS.get(model.preset or "")
    sft = train.sft if train else None
    if context is None or sft is None or sft.max_seq_length <= context:
        return []
    where = ".".join(filter(None, [path, "train.sft.max_seq_length"]))
    return [Violation(where, f"{sft.max_seq_length} is more than the {context} of {model.preset}")]


def _known(path: str, name: str, known: tuple[str, ...]) -> list[Violation]:
    if name in known:
        return []
    # Classes are named in camel case where files are not: AnswerCorrectness.
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    near = difflib.get_close_matches(snake, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return [Violation(path, f"{name!r} is not known; {hint}there is: {', '.join(known)}")]
