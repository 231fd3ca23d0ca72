"""The tensors of a model, known from its config.json alone: whether weights fit, without JAX.

Names and shapes are those of Hugging Face's checkpoints; the training library's own modules are
tested to have exactly these. So a model that could never be loaded is refused before a run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.formats.model.config import Values, read_model_config

Shapes = dict[str, tuple[int, ...]]
"""Tensor name to shape."""

FLOATS = ("F64", "F32", "F16", "BF16")
"""The safetensors types that weights may have."""

OUTPUT_LAYER = "lm_head.weight"
"""Tensor name of the output layer in all families."""

_SHOWN = 5


@dataclass(frozen=True)
class Architecture:
    """What is to be known of one ``model_type``."""

    class_name: str
    """``architectures[0]`` of its config.json."""
    shapes: Callable[[Values], Shapes]
    """Every tensor of the model that a configuration describes."""
    prefix: str
    """What tensor names begin with, except where a checkpoint holds the bare body."""
    embedding: str
    """Tensor name of the input embedding, which the output layer may share."""
    buffers: tuple[str, ...]
    """Ends of tensor names in old checkpoints that are no parameters."""


@dataclass(frozen=True)
class Tensor:
    """One tensor as the header of a safetensors file lists it."""

    dtype: str
    """``F32``, ``BF16`` …"""
    shape: tuple[int, ...]
    """Its lengths."""


def expected_shapes(config: Mapping[str, Any]) -> Shapes:
    """Return the tensors of the model that a config.json describes.

    Raises:
        ValueError: No run can use the configuration; everything wrong with it at once.
    """
    values = read_model_config(config)
    return ARCHITECTURES[config["model_type"]].shapes(values)


def weight_problems(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return how stored tensors do not fit their config.json; empty when they do.

    Values are not looked at: an output layer that is stored although it is the input embedding may
    still differ from it (:func:`tied_pair`). Raises as :func:`expected_shapes`.
    """
    return tensor_problems(ARCHITECTURES[config["model_type"]], expected_shapes(config), tensors)


def tensor_problems(family: Architecture, shapes: Shapes, tensors: Mapping[str, Tensor]) -> str:
    """Return how stored tensors differ from a model's, as :func:`weight_problems` does."""
    wrong: list[str] = []
    unknown: list[str] = []
    seen: set[str] = set()
    for stored, tensor in sorted(tensors.items()):
        name = parameter_name(stored, shapes, family)
        wanted = shapes[family.embedding] if name == OUTPUT_LAYER else shapes.get(name)
        if wanted is None:
            if not stored.endswith(family.buffers):
                unknown.append(f"{stored} {_text(tensor.shape)}")
        elif tensor.shape != wanted:
            wrong.append(f"{stored} is {_text(tensor.shape)}, not {_text(wanted)}")
        elif tensor.dtype not in FLOATS:
            wrong.append(f"{stored} holds {tensor.dtype}, not one of {', '.join(FLOATS)}")
        seen.add(name)
    if OUTPUT_LAYER in seen and OUTPUT_LAYER not in shapes:
        seen.add(family.embedding)  # Either of the two is both of them.
    missing = [f"{name} {_text(shape)}" for name, shape in shapes.items() if name not in seen]
    kinds = {"wrong": wrong, "unknown": unknown, "missing": missing}
    listed = "; ".join(_listed(kind, names) for kind, names in kinds.items() if names)
    return listed + _way_out(tensors, kinds) if listed else ""


def parameter_name(stored: str, shapes: Mapping[str, object], family: Architecture) -> str:
    """Return the name of the parameter that a stored tensor is; checkpoints may lack a prefix."""
    return stored if stored in shapes or stored == OUTPUT_LAYER else family.prefix + stored


def tied_pair(
    family: Architecture, shapes: Mapping[str, object], tensors: Collection[str]
) -> tuple[str, str] | None:
    """Return the stored embedding and output layer of a model in which both are the same."""
    if OUTPUT_LAYER in shapes or OUTPUT_LAYER not in tensors:
        return None
    names = (family.embedding, family.embedding.removeprefix(family.prefix))
    stored = next((name for name in names if name in tensors), None)
    return None if stored is None else (stored, OUTPUT_LAYER)


TIED_PROBLEM = (
    f"{OUTPUT_LAYER} differs from the input embedding, though tie_word_embeddings is true: set "
    "tie_word_embeddings to false in config.json, or remove the tensor"
)
"""Predicate for weights whose pair of :func:`tied_pair` is not equal."""

_WRAPPERS = {
    "_orig_mod.": "torch.compile: save the module inside it (model._orig_mod)",
    "module.": "DataParallel or DeepSpeed: save the module inside it (model.module)",
    "base_model.model.": "an adapter that is not merged: save model.merge_and_unload()",
    "language_model.": "a multimodal model: save its language model on its own",
}
"""Prefixes of tensor names by which a model was saved from within something else."""


def _way_out(tensors: Mapping[str, Tensor], kinds: Mapping[str, list[str]]) -> str:
    """Return what to do about tensors that do not fit."""
    if kinds["unknown"]:
        for prefix, cause in _WRAPPERS.items():
            if any(name.startswith(prefix) for name in tensors):
                return f" (names that begin with {prefix!r} come from {cause})"
        if any(".base_layer." in name or ".lora_" in name for name in tensors):
            return f" (these come from {_WRAPPERS['base_model.model.']})"
    if any(tensor.dtype.startswith(("F8", "F4", "I8", "U8")) for tensor in tensors.values()):
        return " (quantized weights are not supported: give the model as it was before)"
    if not kinds["wrong"] and [name.split()[0] for name in kinds["missing"]] == [OUTPUT_LAYER]:
        return " (where it is the input embedding, set tie_word_embeddings to true in config.json)"
    return " (take the config.json that belongs to these weights, or fetch both again)"


def _gpt2(config: Values) -> Shapes:
    width, layers = config["n_embd"], config["n_layer"]
    vocabulary, inner = config["vocab_size"], config["n_inner"]
    shapes: Shapes = {
        "transformer.wte.weight": (vocabulary, width),
        "transformer.wpe.weight": (config["n_positions"], width),
    }
    for layer in range(layers):
        block = f"transformer.h.{layer}"
        shapes |= _norm(f"{block}.ln_1", width) | _norm(f"{block}.ln_2", width)
        # GPT-2's linear maps are stored as [inputs, outputs].
        maps = {
            "attn.c_attn": (width, 3 * width),
            "attn.c_proj": (width, width),
            "mlp.c_fc": (width, inner),
            "mlp.c_proj": (inner, width),
        }
        for name, shape in maps.items():
            shapes[f"{block}.{name}.weight"] = shape
            shapes[f"{block}.{name}.bias"] = (shape[1],)
    shapes |= _norm("transformer.ln_f", width)
    if not config["tie_word_embeddings"]:
        shapes[OUTPUT_LAYER] = (vocabulary, width)
    return shapes


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _llama(config: Values) -> Shapes:
    width, vocabulary = config["hidden_size"], config["vocab_size"]
    shapes: Shapes = {"model.embed_tokens.weight": (vocabulary, width)}
    block = _llama_block(config)
    for layer in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    shapes["model.norm.weight"] = (width,)
    if not config["tie_word_embeddings"]:
        shapes[OUTPUT_LAYER] = (vocabulary, width)
    return shapes


def _llama_block(config: Values) -> Shapes:
    width, head, inner = config["hidden_size"], config["head_dim"], config["intermediate_size"]
    queries = config["num_attention_heads"] * head
    keys = config["num_key_value_heads"] * head
    biased, mlp_bias = config.get("qkv_bias", False), config.get("mlp_bias", False)
    shapes: Shapes = {
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
    maps = [
        ("self_attn.q_proj", queries, width, biased),
        ("self_attn.k_proj", keys, width, biased),
        ("self_attn.v_proj", keys, width, biased),
        ("self_attn.o_proj", width, queries, config.get("output_bias", False)),
        ("mlp.gate_proj", inner, width, mlp_bias),
        ("mlp.up_proj", inner, width, mlp_bias),
        ("mlp.down_proj", width, inner, mlp_bias),
    ]
    for name, outputs, inputs, has_bias in maps:
        shapes[f"{name}.weight"] = (outputs, inputs)
        if has_bias:
            shapes[f"{name}.bias"] = (outputs,)
    if config.get("qk_norm"):
        shapes |= {f"self_attn.{name}_norm.weight": (head,) for name in ("q", "k")}
    return shapes


def _llama_like(class_name: str) -> Architecture:
    buffers = (".rotary_emb.inv_freq",)
    return Architecture(class_name, _llama, "model.", "model.embed_tokens.weight", buffers)


ARCHITECTURES: dict[str, Architecture] = {
    "gpt2": Architecture(
        "GPT2LMHeadModel",
        _gpt2,
        "transformer.",
        "transformer.wte.weight",
        (".attn.bias", ".attn.masked_bias"),
    ),
    "llama": _llama_like("LlamaForCausalLM"),
    "mistral": _llama_like("MistralForCausalLM"),
    "qwen2": _llama_like("Qwen2ForCausalLM"),
    "qwen3": _llama_like("Qwen3ForCausalLM"),
}
"""By ``model_type``: what the training library can load, no more and no less."""


def _text(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _listed(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{kind} tensors: {', '.join(names[:_SHOWN])}{more}"
