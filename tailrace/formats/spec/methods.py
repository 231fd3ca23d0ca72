"""Blocks of the training methods: the keys that only one method has."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from tailrace.formats.data.record import DatasetKind
from tailrace.formats.schema import Violation, key


class Overlong(enum.StrEnum):
    """Policy for an example longer than ``max_seq_length``."""

    REFUSE = "refuse"
    """The run fails before training and reports the count."""
    TRUNCATE = "truncate"
    """The end of the response is cut; the count is logged."""
    DROP = "drop"
    """The example is left out; the count is logged."""
    DROP_TURNS = "drop_turns"
    """The oldest exchanges after the system message are left out until it fits; the example, if
    its last exchange alone is too long. The counts are logged."""


class TrainOn(enum.StrEnum):
    """Part of an example that the model learns."""

    ALL_ASSISTANT = "all_assistant"
    """Every assistant message, the default for conversations."""
    LAST_ASSISTANT = "last_assistant"
    """The last assistant message."""
    COMPLETION = "completion"
    """All after the prompt, the default for other kinds."""
    EVERYTHING = "everything"
    """All text."""


ACCUMULATION = "train.micro_batch_size (batch_size counts the examples of a whole step)"
"""The key that stands for gradient accumulation."""

SHARED_WITH_SFT = (
    "epochs",
    "max_steps",
    "batch_size",
    "micro_batch_size",
    "max_seq_length",
    "packing",
    "group_by_length",
    "learning_rate",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "warmup_steps",
    "schedule",
    "min_learning_rate_ratio",
    "gradient_clip",
)
"""Keys of ``train`` that were once keys of ``train.sft``."""


@dataclass(frozen=True)
class SftSpec:
    """Supervised fine-tuning: next-token loss on the response tokens only."""

    DATASETS: ClassVar[tuple[DatasetKind, ...]] = tuple(
        kind for kind in DatasetKind if kind is not DatasetKind.PROMPTS
    )
    """Kinds of dataset that the method learns from."""

    RENAMED: ClassVar[dict[str, str]] = {
        **{name: f"train.{name}" for name in SHARED_WITH_SFT},
        "num_epochs": "train.epochs",
        "lr": "train.learning_rate",
        "max_length": "train.max_seq_length",
        "seed": "train.seed",
        "gradient_accumulation_steps": ACCUMULATION,
        "lora": "train.adapter.lora",
    }

    overlong: Overlong = key("Policy for overlong examples.", default=Overlong.REFUSE)
    train_on: TrainOn | None = key(
        "Part of an example that the model learns (default: `all_assistant` for conversations, "
        "`completion` for other kinds).",
        default=None,
    )
    allow_special_tokens: bool = key(
        "Read special tokens in the text of messages as special tokens, not as text.",
        default=False,
    )


class PreferenceLoss(enum.StrEnum):
    """Loss of a pair of answers.

    p is the log-probability of an answer, r the one that the starting model gives it.
    """

    SIGMOID = "sigmoid"
    """DPO (Rafailov et al., arXiv:2305.18290): -log σ(beta · difference of p - r); with
    `label_smoothing` conservative DPO."""
    IPO = "ipo"
    """IPO (Azar et al., arXiv:2310.12036): squared distance of the difference of p - r, both as
    means over tokens, to 1 / (2 · beta)."""
    HINGE = "hinge"
    """SLiC (Zhao et al., arXiv:2305.10425): max(0, 1 - beta · difference of p - r)."""
    SIMPO = "simpo"
    """SimPO (Meng et al., arXiv:2405.14734): -log σ(beta · difference of p as means over tokens -
    `gamma`)."""
    ORPO = "orpo"
    """ORPO (Hong et al., arXiv:2403.07691): mean negative log-likelihood of the chosen answer's
    tokens, plus `beta` · -log σ(log of the odds ratio)."""

    @property
    def has_reference(self) -> bool:
        """True if the loss compares with the starting model."""
        return self not in (PreferenceLoss.SIMPO, PreferenceLoss.ORPO)

    @property
    def default_beta(self) -> float:
        """Value of ``beta`` in a spec without it: that of TRL, and of the paper for SimPO."""
        return 2.0 if self is PreferenceLoss.SIMPO else 0.1


DEFAULT_GAMMA = 1.0
"""Margin of SimPO in a spec without ``gamma``: that of the paper for Llama 3."""


@dataclass(frozen=True)
class DpoSpec:
    """Learning from preferences: answers that were chosen become likelier than rejected ones."""

    DATASETS: ClassVar[tuple[DatasetKind, ...]] = (DatasetKind.PREFERENCE,)
    """Kinds of dataset that the method learns from."""

    RENAMED: ClassVar[dict[str, str]] = {
        "loss_type": "train.dpo.loss",
        "lambda": "train.dpo.beta",
        "simpo_gamma": "train.dpo.gamma",
        "learning_rate": "train.learning_rate",
        "max_length": "train.max_seq_length",
    }

    loss: PreferenceLoss = key("Loss of a pair.", default=PreferenceLoss.SIGMOID, shown_first=True)
    beta: float | None = key(
        "Scale of the rewards: the larger, the closer the model stays to the one it started from; "
        "for `orpo` the weight of the odds ratio, λ in the paper (default: 0.1; 2 for `simpo`).",
        default=None,
        above=0,
        maximum=1000,
        shown_first=True,
    )
    label_smoothing: float = key(
        "Share of pairs whose order is taken to be wrong; `sigmoid` only.",
        default=0.0,
        minimum=0,
        maximum=0.49,
    )
    gamma: float | None = key(
        "Margin between the rewards of both answers; `simpo` only (default: 1).",
        default=None,
        minimum=0,
        maximum=1000,
    )
    overlong: Overlong = key(
        "Policy for pairs with an overlong answer: `refuse`, `truncate` or `drop`.",
        default=Overlong.REFUSE,
    )

    @property
    def strength(self) -> float:
        """``beta``, or its default for the loss."""
        return self.loss.default_beta if self.beta is None else self.beta

    @property
    def margin(self) -> float:
        """``gamma``, or its default."""
        return DEFAULT_GAMMA if self.gamma is None else self.gamma

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of keys that a loss does not have."""
        violations = []
        if self.label_smoothing and self.loss is not PreferenceLoss.SIGMOID:
            only = f"belongs to the loss sigmoid, not to {self.loss}: leave it out"
            violations.append(Violation(f"{path}.label_smoothing", only))
        if self.gamma is not None and self.loss is not PreferenceLoss.SIMPO:
            only = f"belongs to the loss simpo, not to {self.loss}: leave it out"
            violations.append(Violation(f"{path}.gamma", only))
        if self.overlong is Overlong.DROP_TURNS:
            both = "cannot be drop_turns, which would leave different prompts to the two answers: "
            violations.append(Violation(f"{path}.overlong", f"{both}choose truncate or drop"))
        return violations


@dataclass(frozen=True)
class KtoSpec:
    """Learning from feedback: good answers become likelier and bad ones less likely.

    KTO (Ethayarajh et al., arXiv:2402.01306).
    """

    DATASETS: ClassVar[tuple[DatasetKind, ...]] = (DatasetKind.FEEDBACK,)
    """Kinds of dataset that the method learns from."""

    RENAMED: ClassVar[dict[str, str]] = {
        "lambda_d": "train.kto.desirable_weight",
        "lambda_u": "train.kto.undesirable_weight",
        "learning_rate": "train.learning_rate",
        "max_length": "train.max_seq_length",
    }

    beta: float = key(
        "Scale of the rewards: the larger, the closer the model stays to the one it started from.",
        default=0.1,
        above=0,
        maximum=1000,
        shown_first=True,
    )
    desirable_weight: float = key(
        "Weight of the losses of good answers, λ_D in the paper.",
        default=1.0,
        minimum=0,
        maximum=1000,
    )
    undesirable_weight: float = key(
        "Weight of the losses of bad answers, λ_U in the paper.",
        default=1.0,
        minimum=0,
        maximum=1000,
    )
    overlong: Overlong = key(
        "Policy for overlong examples: `refuse`, `truncate` or `drop`.",
        default=Overlong.REFUSE,
    )

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of rules that concern several keys."""
        violations = []
        if not self.desirable_weight and not self.undesirable_weight:
            nothing = "must be above 0 if desirable_weight is 0: there is nothing to learn"
            violations.append(Violation(f"{path}.undesirable_weight", nothing))
        if self.overlong is Overlong.DROP_TURNS:
            both = "cannot be drop_turns, which would leave another prompt to an answer than the "
            end = "one it was given to: choose truncate or drop"
            violations.append(Violation(f"{path}.overlong", both + end))
        return violations
