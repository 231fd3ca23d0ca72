"""The TRAIN block of a run spec: a method and what every method shares."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from tailrace.formats.data.record import DatasetKind
from tailrace.formats.schema import Violation, exactly_one, key
from tailrace.formats.spec.distill_spec import DistillSpec, OnPolicySpec
from tailrace.formats.spec.grpo_spec import GrpoSpec
from tailrace.formats.spec.methods import ACCUMULATION, DpoSpec, KtoSpec, SftSpec

MAX_STEPS = 100_000_000
"""Largest number of optimizer steps."""


class Schedule(enum.StrEnum):
    """Learning rate after warm-up."""

    CONSTANT = "constant"
    """Stays at ``learning_rate``."""
    LINEAR = "linear"
    """Falls in a straight line to ``min_learning_rate_ratio`` of it at the last step."""
    COSINE = "cosine"
    """Falls along half a cosine to ``min_learning_rate_ratio`` of it at the last step."""


class Dtype(enum.StrEnum):
    """Type that a model computes in; the trained weights are float32 in any case."""

    AUTO = "auto"
    """bfloat16 on accelerators, float32 on CPUs."""
    FLOAT32 = "float32"
    """Single precision everywhere."""
    BFLOAT16 = "bfloat16"
    """Matrix products and activations in bfloat16; loss, softmax and updates in float32."""


class SaveDtype(enum.StrEnum):
    """Type that the final model is saved in; checkpoints are float32 in any case."""

    SOURCE = "source"
    """Each tensor in its type in the source model; float32 for presets."""
    FLOAT32 = "float32"
    """The exact trained values."""
    BFLOAT16 = "bfloat16"
    """Half the size, rounded."""


class BaseDtype(enum.StrEnum):
    """Type that the frozen weights of linear layers are stored in during training."""

    NONE = "none"
    """The type that the model computes in."""
    INT8 = "int8"
    """8 bits a weight."""
    NF4 = "nf4"
    """4 bits a weight: the quantiles of a normal distribution (QLoRA, arXiv:2305.14314)."""


class FinalModel(enum.StrEnum):
    """Weights that a training ends with."""

    LAST = "last"
    """The weights of the last step."""
    BEST = "best"
    """The weights with the lowest evaluation loss."""


@dataclass(frozen=True)
class LoraSpec:
    """Low-rank adaptation (Hu et al., arXiv:2106.09685): small matrices next to frozen weights."""

    RENAMED: ClassVar[dict[str, str]] = {
        "r": "train.adapter.lora.rank",
        "lora_alpha": "train.adapter.lora.alpha",
        "lora_dropout": "train.adapter.lora.dropout",
        "load_in_4bit": "train.adapter.lora.base_dtype",
        "load_in_8bit": "train.adapter.lora.base_dtype",
    }

    rank: int = key("Rank of the matrices.", default=16, minimum=1, maximum=1024, shown_first=True)
    alpha: float = key(
        "The product of the matrices is scaled by `alpha` / `rank`.",
        default=32.0,
        above=0,
        maximum=65_536,
        shown_first=True,
    )
    dropout: float = key(
        "Probability of dropping an input value of the matrices in training.",
        default=0.0,
        minimum=0,
        maximum=0.9,
    )
    target_modules: list[str] = key(
        "Suffixes of the names of the linear layers to adapt (`q_proj`, `attn.c_attn`); empty "
        "takes all but the output layer.",
        default=[],
        minimum=1,
        max_length=64,
        pattern=r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*",
    )
    base_dtype: BaseDtype = key(
        "Type that the frozen weights of linear layers are stored in during training; embeddings, "
        "norms and the output layer keep theirs. The final model is made of the quantized "
        "weights.",
        default=BaseDtype.NONE,
    )

    def violations(self, path: str) -> list[Violation]:
        """Return a violation if a module is named twice."""
        if len(set(self.target_modules)) < len(self.target_modules):
            return [Violation(f"{path}.target_modules", "names a module twice")]
        return []


@dataclass(frozen=True)
class AdapterSpec:
    """Adapter that is trained next to frozen weights: exactly one kind."""

    lora: LoraSpec | None = key("Low-rank adaptation.", default=None, shown_first=True)

    def violations(self, path: str) -> list[Violation]:
        """Return a violation unless one kind is chosen."""
        return exactly_one(path, lora=self.lora)


@dataclass(frozen=True)
class MeshSpec:
    """Division of the work among a slot's devices; the product is the number of devices used."""

    data: int = key(
        "Groups of devices that each take a part of every batch; 0 takes as many as the slot has "
        "and the batch divides into.",
        default=0,
        minimum=0,
        maximum=65_536,
    )
    fsdp: int = key(
        "Devices that take a part of the batch and hold a part of weights and optimizer state.",
        default=1,
        minimum=1,
        maximum=65_536,
    )
    tensor: int = key(
        "Devices that split every layer among them.", default=1, minimum=1, maximum=65_536
    )
    experts: int = key(
        "Devices that split the experts of every layer among them; must divide their number, and "
        "be 1 for models without experts.",
        default=1,
        minimum=1,
        maximum=65_536,
    )


@dataclass(frozen=True)
class TrainSpec:
    """The TRAIN stage: a method and what every method shares."""

    METHODS: ClassVar[tuple[str, ...]] = ("sft", "dpo", "kto", "grpo", "distill")
    """Keys of the training methods; the first is the default."""

    RENAMED: ClassVar[dict[str, str]] = {
        "device": "the --device flag, or execution.train.pool in a run",
        "num_epochs": "train.epochs",
        "lr": "train.learning_rate",
        "max_length": "train.max_seq_length",
        "gradient_accumulation_steps": ACCUMULATION,
        "lora": "train.adapter.lora",
        "base_dtype": "train.adapter.lora.base_dtype",
        "overlong": "train.sft.overlong",
        "bf16": "train.dtype",
        "gradient_checkpointing": "train.remat",
        "fsdp": "train.mesh.fsdp",
    }

    sft: SftSpec | None = key(
        "Supervised fine-tuning, the default method.", default=None, shown_first=True
    )
    dpo: DpoSpec | None = key("Learning from preferences.", default=None, shown_first=True)
    kto: KtoSpec | None = key("Learning from feedback.", default=None, shown_first=True)
    grpo: GrpoSpec | None = key("Learning from rewards.", default=None, shown_first=True)
    distill: DistillSpec | None = key("Learning from a teacher.", default=None, shown_first=True)
    adapter: AdapterSpec | None = key(
        "Adapter to train next to frozen weights (default: train all weights).",
        default=None,
        shown_first=True,
    )
    epochs: float | None = key(
        "Passes over the train part. Exactly one of `epochs` and `max_steps`.",
        default=None,
        above=0,
        maximum=100_000,
        shown_first=True,
    )
    max_steps: int | None = key(
        "Optimizer steps. Exactly one of `epochs` and `max_steps`.",
        default=None,
        minimum=1,
        maximum=MAX_STEPS,
        shown_first=True,
    )
    batch_size: int = key(
        "Examples per optimizer step; for `grpo` and `distill.on_policy` prompts, each with "
        "`n_samples` rows.",
        default=8,
        minimum=1,
        maximum=65_536,
        shown_first=True,
    )
    micro_batch_size: int | None = key(
        "Rows per forward and backward pass, a divisor of the rows of a step; gradients add up to "
        "those of the whole batch (default: all rows in one pass).",
        default=None,
        minimum=1,
        maximum=65_536,
    )
    max_seq_length: int = key(
        "Longest example in tokens, prompt and response together.",
        default=128,
        minimum=8,
        maximum=1_048_576,
        shown_first=True,
    )
    packing: bool = key(
        "Put several examples of a batch into one row of `max_seq_length`, each attending to "
        "itself alone. Changes the speed, not the training.",
        default=False,
    )
    group_by_length: bool = key(
        "Put examples of similar length into the same batch, which saves padding and shuffles "
        "less.",
        default=False,
    )
    learning_rate: float = key(
        "Peak learning rate.", default=2e-5, above=0, maximum=10, shown_first=True
    )
    weight_decay: float = key(
        "Decoupled weight decay (AdamW, arXiv:1711.05101); not on norms and biases.",
        default=0.0,
        minimum=0,
        maximum=10,
    )
    adam_beta1: float = key(
        "Decay of the mean of gradients (arXiv:1412.6980).", default=0.9, minimum=0, maximum=0.9999
    )
    adam_beta2: float = key(
        "Decay of the mean of squared gradients.", default=0.999, minimum=0, maximum=0.999999
    )
    adam_epsilon: float = key(
        "Added to the root of the mean of squared gradients.", default=1e-8, above=0, maximum=1
    )
    warmup_steps: int = key(
        "Steps over which the learning rate rises from 0.",
        default=0,
        minimum=0,
        maximum=MAX_STEPS,
    )
    schedule: Schedule = key("Learning rate after warm-up.", default=Schedule.CONSTANT)
    min_learning_rate_ratio: float = key(
        "End of linear and cosine schedules, as a share of `learning_rate`.",
        default=0.0,
        minimum=0,
        maximum=1,
    )
    gradient_clip: float = key(
        "Largest global gradient norm; 0 turns clipping off.", default=1.0, minimum=0
    )
    router_aux_loss_coef: float | None = key(
        "Factor of the load-balancing loss of a mixture of experts (arXiv:2101.03961); 0 turns it "
        "off (default: the model's own factor if its config.json sets `output_router_logits`, "
        "else 0).",
        default=None,
        minimum=0,
        maximum=100,
    )
    seed: int = key(
        "Seed of initial weights, data order and dropout.",
        default=42,
        minimum=0,
        maximum=2**31 - 1,
    )
    dtype: Dtype = key("Type that the model computes in.", default=Dtype.AUTO)
    remat: bool = key(
        "Keep only the inputs of each layer for the backward pass and compute the rest again: "
        "slower, with less memory.",
        default=False,
    )
    mesh: MeshSpec = key("Division of the work among the slot's devices.", default=MeshSpec())
    eval_fraction: float = key(
        "Share of distinct prompts that is held out; 0 trains on everything.",
        default=0.0,
        minimum=0,
        maximum=0.9,
        shown_first=True,
    )
    split_seed: int = key(
        "Seed of the train/held-out split, independent of `seed`.",
        default=42,
        minimum=0,
        maximum=2**31 - 1,
    )
    eval_every_steps: int = key(
        "Steps between evaluations of the loss on the held-out part; 0 turns them off.",
        default=0,
        minimum=0,
        maximum=MAX_STEPS,
    )
    early_stopping_patience: int = key(
        "Evaluations in a row without a lower loss that end the training; 0 turns this off.",
        default=0,
        minimum=0,
        maximum=MAX_STEPS,
    )
    early_stopping_min_delta: float = key(
        "Smallest fall of the loss that counts.", unit="nats", default=0.0, minimum=0
    )
    final_model: FinalModel = key("Weights that the training ends with.", default=FinalModel.LAST)
    save_dtype: SaveDtype = key(
        "Type that the final model is saved in, and predicts with.",
        default=SaveDtype.SOURCE,
    )
    save_every_steps: int = key(
        "Steps between checkpoints.", default=100, minimum=1, maximum=MAX_STEPS
    )
    keep_checkpoints: int = key(
        "Checkpoints that stay in the training's folder: the newest, and in addition the one of "
        "the lowest evaluation loss, if that step was saved. The artifact store keeps all.",
        default=2,
        minimum=1,
        maximum=1000,
    )
    log_every_steps: int = key(
        "Steps between metric points.", default=10, minimum=1, maximum=MAX_STEPS
    )
    steps_per_dispatch: int = key(
        "Optimizer steps per compiled call; boundaries are multiples of it in step numbers. For "
        "`grpo` and `distill.on_policy`, a call has the steps of one rollout instead.",
        default=10,
        minimum=1,
        maximum=1000,
    )

    def __post_init__(self) -> None:
        """Choose the default method where the spec names none."""
        if self._methods():
            return
        object.__setattr__(self, "sft", SftSpec())

    @property
    def method(self) -> str:
        """Key of the training method."""
        return next(iter(self._methods()))

    @property
    def method_key(self) -> str:
        """Key of the method's block; for sampled answers, of the block with their settings."""
        own_answers = self.distill is not None and self.distill.on_policy is not None
        return "distill.on_policy" if own_answers else self.method

    @property
    def dataset_kinds(self) -> tuple[DatasetKind, ...]:
        """Kinds of dataset that the method learns from."""
        if self.distill is not None:
            return self.distill.dataset_kinds
        kinds: tuple[DatasetKind, ...] = getattr(self, self.method).DATASETS
        return kinds

    @property
    def sampling(self) -> GrpoSpec | OnPolicySpec | None:
        """Settings of the answers that the model samples in training; None if it samples none."""
        return self.distill.on_policy if self.distill is not None else self.grpo

    @property
    def step_rows(self) -> int:
        """Number of rows of an optimizer step."""
        return self.batch_size * (1 if self.sampling is None else self.sampling.n_samples)

    @property
    def call_steps(self) -> int:
        """Number of optimizer steps in a compiled call, which never spans a rollout."""
        return self.steps_per_dispatch if self.sampling is None else self.inner_steps

    @property
    def inner_steps(self) -> int:
        """Number of optimizer steps on the answers of one rollout."""
        return 1 if self.grpo is None else self.grpo.inner_steps

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of rules that concern several keys."""
        where = path or "train"
        violations = exactly_one(where, epochs=self.epochs, max_steps=self.max_steps)
        methods = self._methods()
        if len(methods) > 1:
            violations.append(Violation(where, f"has {' and '.join(methods)}: choose one"))
        return (
            violations
            + self._method_violations(where)
            + self._step_violations(where)
            + self._evaluation_violations(where)
        )

    def _methods(self) -> list[str]:
        return [name for name in self.METHODS if getattr(self, name) is not None]

    def _method_violations(self, path: str) -> list[Violation]:
        """Return the violations of shared keys that a method does not take."""
        violations = self._sampling_violations(path)
        if self.sft is not None or (self.distill is not None and self.sampling is None):
            return violations
        if self.packing:
            rows = (
                f"cannot be used with {self.method_key}, whose rows hold one answer each: leave it "
                "out"
            )
            violations.append(Violation(f"{path}.packing", rows))
        lora = self.adapter.lora if self.adapter is not None else None
        if lora is not None and lora.dropout and self.distill is None:
            compares = f"{self.method}, which compares log-probabilities"
            zero = f"must be 0 with {compares}: dropout disturbs them"
            violations.append(Violation(f"{path}.adapter.lora.dropout", zero))
        if self.kto is not None and self.batch_size == 1:
            lone = "must be above 1 with kto, whose baseline is a mean over the examples of a step"
            violations.append(Violation(f"{path}.batch_size", lone))
        return violations

    def _sampling_violations(self, path: str) -> list[Violation]:
        """Return the violations of shared keys that learning from sampled answers does not take."""
        violations: list[Violation] = []
        if self.sampling is None:
            return violations
        if self.sampling.max_new_tokens >= self.max_seq_length:
            room = (
                f"must be below max_seq_length {self.max_seq_length}, which the prompt is part of"
            )
            violations.append(Violation(f"{path}.{self.method_key}.max_new_tokens", room))
        if self.group_by_length:
            nothing = (
                f"has no use with {self.method_key}, whose prompts have answers of any length: "
                "leave it out"
            )
            violations.append(Violation(f"{path}.group_by_length", nothing))
        if self.eval_every_steps and self.grpo is not None:
            nothing = (
                "has no loss to evaluate with grpo: judge held-out prompts with infer and judges"
            )
            violations.append(Violation(f"{path}.eval_every_steps", nothing))
        return violations

    def _step_violations(self, path: str) -> list[Violation]:
        """Return the violations of warm-up, parts of a batch, and padding."""
        violations: list[Violation] = []
        if self.max_steps is not None and self.warmup_steps > self.max_steps:
            violations.append(Violation(f"{path}.warmup_steps", "is longer than max_steps"))
        if self.micro_batch_size is not None and self.step_rows % self.micro_batch_size:
            rows = "batch_size" if self.sampling is None else "batch_size × n_samples ="
            divisor = f"must divide {rows} {self.step_rows}, not {self.micro_batch_size}"
            violations.append(Violation(f"{path}.micro_batch_size", divisor))
        if self.packing and self.group_by_length:
            nothing = "has no use with packing, which leaves hardly any padding: choose one"
            violations.append(Violation(f"{path}.group_by_length", nothing))
        return violations

    def _evaluation_violations(self, path: str) -> list[Violation]:
        """Return the violations of keys that need evaluations."""
        violations: list[Violation] = []
        if self.eval_every_steps and not self.eval_fraction:
            nothing = "has nothing to evaluate on: set eval_fraction above 0"
            violations.append(Violation(f"{path}.eval_every_steps", nothing))
        if not self.eval_every_steps:
            rests = {
                "early_stopping_patience": self.early_stopping_patience > 0,
                "final_model": self.final_model is FinalModel.BEST,
            }
            needs = "needs evaluations: set eval_every_steps and eval_fraction above 0"
            violations += [
                Violation(f"{path}.{name}", needs) for name, used in rests.items() if used
            ]
        if self.early_stopping_min_delta and not self.early_stopping_patience:
            needs = "has no use without early_stopping_patience"
            violations.append(Violation(f"{path}.early_stopping_min_delta", needs))
        return violations
