"""Learning from a teacher: the block of ``train.distill``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tailrace.formats.data.record import DatasetKind
from tailrace.formats.resource_id import MODEL_REFERENCE
from tailrace.formats.schema import Violation, key
from tailrace.formats.spec.grpo_spec import GrpoSpec
from tailrace.formats.spec.infer_spec import MAX_NEW_TOKENS
from tailrace.formats.spec.methods import Overlong, SftSpec, TrainOn


@dataclass(frozen=True)
class OnPolicySpec:
    """Answers that the model samples itself, for the teacher to correct (arXiv:2306.13649)."""

    RENAMED: ClassVar[dict[str, str]] = {
        "num_generations": "train.distill.on_policy.n_samples",
        "max_completion_length": "train.distill.on_policy.max_new_tokens",
    }

    REFUSED: ClassVar[dict[str, str]] = GrpoSpec.REFUSED

    n_samples: int = key(
        "Answers sampled for each prompt of a step.", default=1, minimum=1, maximum=64
    )
    max_new_tokens: int = key(
        "Maximum number of tokens of an answer.", default=64, minimum=1, maximum=MAX_NEW_TOKENS
    )
    temperature: float = key(
        "Temperature of sampling; the loss compares distributions at temperature 1.",
        default=1.0,
        above=0,
        maximum=10,
    )
    rollout_batch_size: int | None = key(
        "Answers that are generated together (default: all of a step).",
        default=None,
        minimum=1,
        maximum=4096,
    )


@dataclass(frozen=True)
class DistillSpec:
    """Distillation: the model learns a teacher's distributions over the tokens of answers."""

    DATASETS: ClassVar[tuple[DatasetKind, ...]] = SftSpec.DATASETS
    """Kinds of dataset that the method learns from: their texts may be the teacher's own."""

    RENAMED: ClassVar[dict[str, str]] = {
        "teacher_model_name_or_path": "train.distill.teacher",
        "n_samples": "train.distill.on_policy.n_samples",
        "rollout_batch_size": "train.distill.on_policy.rollout_batch_size",
        "max_new_tokens": "train.distill.on_policy.max_new_tokens",
        "temperature": "train.distill.on_policy.temperature",
        "learning_rate": "train.learning_rate",
        "max_length": "train.max_seq_length",
    }

    teacher: str = key(
        "The model to learn from, an imported one (`models/{model}`) with the tokenizer of the "
        "model that is trained.",
        minimum=1,
        max_length=256,
        pattern=MODEL_REFERENCE,
        form="a model 'models/NAME'; import it first: tailrace models import FOLDER, or of a run: "
        "tailrace models promote RUN NAME",
    )
    on_policy: OnPolicySpec | None = key(
        "Learn from answers that the model samples to the dataset's prompts (default: from the "
        "dataset's own answers).",
        default=None,
    )
    top_k: int | None = key(
        "Likeliest tokens of the teacher that are computed once and stored, before the first step: "
        "the loss compares these, and all others as one (default: the whole vocabulary, with the "
        "teacher in memory).",
        default=None,
        minimum=1,
        maximum=1024,
    )
    overlong: Overlong = key(
        "Policy for overlong examples; with `on_policy` for prompts that leave no room for "
        "`max_new_tokens`, `refuse` or `drop`.",
        default=Overlong.REFUSE,
    )
    train_on: TrainOn | None = key(
        "Part of an example that the model learns (default: `all_assistant` for conversations, "
        "`completion` for other kinds).",
        default=None,
    )

    @property
    def dataset_kinds(self) -> tuple[DatasetKind, ...]:
        """Kinds of dataset that serve: prompts alone do if the model samples the answers."""
        return self.DATASETS if self.on_policy is None else GrpoSpec.DATASETS

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of keys that sampled answers do not take."""
        violations: list[Violation] = []
        if self.on_policy is None:
            return violations
        if self.top_k is not None:
            ahead = "cannot be used with on_policy, whose answers are not known ahead: leave it out"
            violations.append(Violation(f"{path}.top_k", ahead))
        if self.train_on is not None:
            own = "cannot be used with on_policy, which learns sampled answers: leave it out"
            violations.append(Violation(f"{path}.train_on", own))
        if self.overlong not in (Overlong.REFUSE, Overlong.DROP):
            choices = (
                f"cannot be {self.overlong}, which would change prompts: choose refuse or drop"
            )
            violations.append(Violation(f"{path}.overlong", choices))
        return violations
