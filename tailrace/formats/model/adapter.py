"""LoRA adapters of Hugging Face's PEFT, checked against the model that they change.

An imported adapter is a model folder: the files of its base model, and the adapter's two files in a
subfolder. Loading it adds the products of the adapter's matrices to the weights.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.formats.model.tensors import FLOATS, Tensor
from tailrace.formats.wording import describe, name_text

CONFIG_NAME = "adapter_config.json"
"""File name of PEFT's configuration."""

WEIGHTS_NAME = "adapter_model.safetensors"
"""File name of the adapter's matrices."""

ADAPTER_FOLDER = "adapter"
"""Folder of a trained adapter inside the folder of the model that it is merged into."""

UNMERGED_FOLDER = "unmerged_adapter"
"""Subfolder of an adapter in the folder of its base model."""

UNMERGED_CONFIG = f"{UNMERGED_FOLDER}/{CONFIG_NAME}"
"""Path of the configuration in the folder of the base model."""

UNMERGED_WEIGHTS = f"{UNMERGED_FOLDER}/{WEIGHTS_NAME}"
"""Path of the matrices in the folder of the base model."""

PREFIX = "base_model.model."
"""Prefix that PEFT's wrapper adds to every tensor name."""

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
"""Endings of the names of A [rank, inputs] and B [outputs, rank]."""

MAX_RANK = 65536
"""Largest rank."""

_WITHOUT_EFFECT = frozenset(
    (
        *("auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "eva_config"),
        *("exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern"),
        *("layers_to_transform", "lora_dropout", "megatron_core", "peft_version"),
        *("qalora_group_size", "revision", "target_modules"),
    )
)
"""Keys that do not change the product of a saved adapter's matrices."""

_INITIAL = (None, True, False, "gaussian", "orthogonal", "eva")
"""Values of init_lora_weights that leave the base model's weights unchanged."""

_MERGE = "merge it with peft: model.merge_and_unload().save_pretrained(FOLDER)"
_SHOWN = 5


@dataclass(frozen=True)
class AdapterConfig:
    """Settings that the product of the matrices depends on."""

    rank: int
    """Rank of A and B."""
    alpha: float
    """Numerator of the scale."""
    is_stabilized: bool
    """True for rank-stabilized scales (Kalajdzievski, arXiv:2312.03732)."""
    base: str | None = None
    """Name or path of the base model, as the adapter gives it."""

    @property
    def scale(self) -> float:
        """Factor of B A."""
        return self.alpha / (math.sqrt(self.rank) if self.is_stabilized else self.rank)


def read_adapter_config(config: Mapping[str, Any]) -> AdapterConfig:
    """Read an adapter_config.json.

    Raises:
        ValueError: The adapter is not supported; the message lists every problem.
    """
    problems = []
    if config.get("peft_type") != "LORA":
        problems.append(f"peft_type is {describe(config.get('peft_type'))}, must be LORA")
    if config.get("task_type") not in ("CAUSAL_LM", None):
        problems.append(f"task_type is {describe(config['task_type'])}, must be CAUSAL_LM")
    if config.get("bias", "none") != "none":
        problems.append(f"bias is {describe(config['bias'])}, must be none")
    if config.get("init_lora_weights") not in _INITIAL:
        problems.append(
            f"init_lora_weights {describe(config['init_lora_weights'])} changes the base model"
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        problems.append(f"r is {describe(rank)}, must be a whole number from 1 to {MAX_RANK}")
    # Compared without a conversion, which long whole numbers do not survive.
    if type(alpha) not in (int, float) or not 0 < (alpha or 0) < 1e9:
        problems.append(f"lora_alpha is {describe(alpha)}, must be a number above 0")
    # A 1 equals true, and would be read as false below.
    if not isinstance(config.get("use_rslora"), bool | None):
        problems.append(f"use_rslora is {describe(config['use_rslora'])}, must be true or false")
    known = {"peft_type", "task_type", "bias", "init_lora_weights", "r", "lora_alpha"}
    known |= {"use_rslora"} | _WITHOUT_EFFECT
    others = sorted(key for key, value in config.items() if value and key not in known)
    if others:
        problems.append(f"{', '.join(map(name_text, others[:_SHOWN]))} cannot be set")
    if problems:
        raise ValueError(f"is not supported: {'; '.join(problems)} ({_MERGE})")
    stabilized, base = config.get("use_rslora") is True, config.get("base_model_name_or_path")
    named = base if isinstance(base, str) else None
    return AdapterConfig(int(rank or 0), float(alpha or 0), stabilized, named)


def adapted_modules(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the layers that tensors belong to, sorted."""
    names = (name.removeprefix(PREFIX) for name in tensors if name.startswith(PREFIX))
    return sorted(name.removesuffix(DOWN) for name in names if name.endswith(DOWN))


def adapter_tensor_problems(
    config: AdapterConfig,
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    tables: Collection[str] = (),
    *,
    transposed: bool = False,
) -> str:
    """Return the differences between an adapter and its base model's tensors; empty if it fits.

    ``tables`` are the matrices of the base model that cannot have an adapter; ``transposed`` is as
    in :class:`tailrace.formats.model.families.family.Family`.
    """
    expected: set[str] = set()
    wrong: list[str] = []
    for module in adapted_modules(tensors):
        down, up = PREFIX + module + DOWN, PREFIX + module + UP
        expected |= {down, up}
        weight = shapes.get(f"{module}.weight")
        if weight is None or len(weight) != 2 or f"{module}.weight" in tables:
            wrong.append(f"the base model has no linear layer {name_text(module)}")
            continue
        first, second = tensors[down].shape, tensors[up].shape if up in tensors else ()
        if len(first) != 2 or len(second) != 2 or not first[0] == second[1] == config.rank:
            wrong.append(f"{name_text(module)} needs A and B of rank {config.rank}")
        elif (first[1], second[0]) != (weight if transposed else weight[::-1]):
            wrong.append(
                f"{module} maps {first[1]} to {second[0]} values, its weight is {list(weight)}"
            )
    wrong += [
        f"{name_text(name)} is not a matrix of LoRA" for name in sorted(set(tensors) - expected)
    ]
    wrong += [
        f"{name} holds {tensors[name].dtype}, not one of {', '.join(FLOATS)}"
        for name in sorted(expected & set(tensors))
        if tensors[name].dtype not in FLOATS
    ]
    if not expected:
        wrong.append("there is no matrix of LoRA")
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return "; ".join(wrong[:_SHOWN]) + more
