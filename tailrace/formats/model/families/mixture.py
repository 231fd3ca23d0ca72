"""Mixtures of experts on Llama's attention: the parts that these families share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tailrace.formats.model.config_reader import MAX_LAYERS, ConfigReader
from tailrace.formats.model.families import llama
from tailrace.formats.model.families.family import (
    EXPERTS,
    FSDP,
    TENSOR,
    AxisRules,
    Dimensions,
    Family,
    Shapes,
    Stacks,
    TokenizerRule,
)
from tailrace.formats.model.families.llama import LlamaConfig

MAX_EXPERTS = 4096
"""Largest number of experts in a layer."""

MAX_EXPERT_TENSORS = 300_000
"""Largest number of tensors that the experts of all layers have, ten times that of large models."""


@dataclass(frozen=True)
class MixtureConfig(LlamaConfig):
    """Hyperparameters of Llama and of the layers with experts."""

    experts: int = 8
    """Experts in a sparse layer."""
    active_experts: int = 2
    """Experts that a token is sent to."""
    expert_size: int = 1
    """Channels inside an expert."""
    normalized: bool = True
    """True if the weights of a token's experts are divided by their sum."""
    sparse_layers: tuple[bool, ...] = ()
    """For each layer, true if its feed-forward layer is sparse."""
    router_aux_loss_coef: float = 0.001
    """Factor of the load-balancing loss, kept for other programs: none is computed here."""
    output_router_logits: bool = False
    """True if other programs add that loss in training."""
    sparse_name: str = "mlp"
    """Name of a block's sparse feed-forward layer."""
    expert_names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")
    """Names of an expert's gate, first and last map."""


def read_router(reader: ConfigReader, experts: int) -> dict[str, Any]:
    """Return the arguments of :class:`MixtureConfig` that describe a router of ``experts``."""
    active = reader.size("num_experts_per_tok")
    if active > experts:
        reader.wrong(f"num_experts_per_tok {active} must be at most the {experts} experts")
    tensors = 3 * experts * reader.size("num_hidden_layers", 1, maximum=MAX_LAYERS)
    if tensors > MAX_EXPERT_TENSORS:
        reader.wrong(
            f"the experts of all layers have {tensors} tensors, at most {MAX_EXPERT_TENSORS}"
        )
    return {
        "experts": experts,
        "active_experts": min(active, experts),
        "router_aux_loss_coef": reader.number("router_aux_loss_coef", 0.001),
        "output_router_logits": reader.flag("output_router_logits", False),
    }


def write_router(config: MixtureConfig) -> dict[str, Any]:
    """Return the keys of config.json that both families write alike."""
    return {
        "num_experts_per_tok": config.active_experts,
        "router_aux_loss_coef": config.router_aux_loss_coef,
        "output_router_logits": config.output_router_logits,
    }


def shapes(config: MixtureConfig) -> Shapes:
    """Return the tensors by name; each expert has its own."""
    sparse = [layer for layer, is_sparse in enumerate(config.sparse_layers) if is_sparse]
    unused = {f"model.layers.{layer}.mlp" for layer in sparse}
    tensors = {
        name: shape
        for name, shape in llama.shapes(config).items()
        if name[: name.find(".mlp.") + len(".mlp")] not in unused
    }
    outer, inner = config.hidden_size, config.expert_size
    gate, up, down = config.expert_names
    expert = {gate: (inner, outer), up: (inner, outer), down: (outer, inner)}
    for layer in sparse:
        block = f"model.layers.{layer}.{config.sparse_name}."
        tensors[f"{block}gate.weight"] = (config.experts, outer)
        for number in range(config.experts):
            for name, shape in expert.items():
                tensors[f"{block}experts.{number}.{name}.weight"] = shape
    return tensors


def stacks(config: MixtureConfig) -> Stacks:
    """Return the tensors of each parameter that holds the weights of all experts of a layer."""
    return {
        f"{prefix}{name}.weight": tuple(
            f"{prefix}{number}.{name}.weight" for number in range(config.experts)
        )
        for layer, is_sparse in enumerate(config.sparse_layers)
        if is_sparse
        for prefix in (f"model.layers.{layer}.{config.sparse_name}.experts.",)
        for name in config.expert_names
    }


def dimensions(config: MixtureConfig) -> Dimensions:
    """Return the sizes of a model of these families."""
    return dataclasses.replace(
        llama.dimensions(config),
        sparse_layers=sum(config.sparse_layers),
        experts=config.experts,
        active_experts=config.active_experts,
        expert_inner=config.expert_size,
    )


_AXES: AxisRules = (
    # The weights of all experts are [experts, outputs, inputs].
    (r".*\.experts\.(gate_proj|up_proj|w1|w3)\.weight", (EXPERTS, TENSOR, FSDP)),
    (r".*\.experts\.(down_proj|w2)\.weight", (EXPERTS, FSDP, TENSOR)),
    (r".*\.(mlp|block_sparse_moe)\.gate\.weight", (None, FSDP)),
    *llama.AXES,
)


def mixture_family(
    model_type: str,
    class_name: str,
    read: Callable[[ConfigReader], MixtureConfig],
    write: Callable[[MixtureConfig], dict[str, Any]],
    tokenizer: TokenizerRule,
) -> Family:
    """Return the record of a family with experts."""
    return Family(
        model_type=model_type,
        class_name=class_name,
        decoder="mixture",
        read=read,
        write=write,
        shapes=shapes,
        stacks=stacks,
        dimensions=dimensions,
        prefix="model.",
        embedding="model.embed_tokens.weight",
        axes=_AXES,
        unadapted=r".*\.(experts\..*|(mlp|block_sparse_moe)\.gate)\.weight",
        tokenizer=tokenizer,
    )
