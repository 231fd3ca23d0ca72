"""The tensors of a model, known from its config.json alone: whether weights fit, without JAX.

Names and shapes are those of Hugging Face's checkpoints; the training library's own modules are
tested to have exactly these. So a model that could never be loaded is refused before a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tailrace.formats.catalog import MODEL_TYPES

Shapes = dict[str, tuple[int, ...]]
"""Tensor name to shape."""

MAX_LAYERS = 10_000
"""Most layers of a model that is looked at."""

FLOATS = ("F64", "F32", "F16", "BF16")
"""The safetensors types that weights may have."""

OUTPUT_LAYER = "lm_head.weight"
"""Tensor name of the output layer in all families."""

_SHOWN = 5


@dataclass(frozen=True)
class Architecture:
    """What is to be known of one ``model_type``."""

    shapes: Callable[[_Config], Shapes]
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
    """The tensors of the model that a config.json describes.

    Raises ``ValueError``: an unknown ``model_type``, or sizes that are missing or no whole numbers,
    all at once.
    """
    reader = _Config(config)
    shapes = _architecture(config).shapes(reader)
    if reader.problems:
        raise ValueError("; ".join(reader.problems))
    return shapes


def weight_problems(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """How stored tensors do not fit their config.json; empty when they do.

    Values are not looked at: an output layer that is stored although it is the input embedding may
    still differ from it. Raises as :func:`expected_shapes`.
    """
    family = _architecture(config)
    shapes = expected_shapes(config)
    wrong: list[str] = []
    unknown: list[str] = []
    seen: set[str] = set()
    for stored, tensor in sorted(tensors.items()):
        name = stored if stored in shapes else family.prefix + stored
        wanted = shapes.get(name)
        if wanted is None and stored == OUTPUT_LAYER:
            wanted = shapes[family.embedding]
        if wanted is None:
            if not stored.endswith(family.buffers):
                unknown.append(f"{stored} {_text(tensor.shape)}")
        elif tensor.shape != wanted:
            wrong.append(f"{stored} is {_text(tensor.shape)}, not {_text(wanted)}")
        elif tensor.dtype not in FLOATS:
            wrong.append(f"{stored} holds {tensor.dtype}, not one of {', '.join(FLOATS)}")
        seen.add(name)
    missing = [f"{name} {_text(shape)}" for name, shape in shapes.items() if name not in seen]
    found = {"wrong": wrong, "unknown": unknown, "missing": missing}
    return "; ".join(_listed(kind, names) for kind, names in found.items() if names)


@dataclass
class _Config:
    """Reads sizes and switches; null counts as absent, as in transformers."""

    data: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)

    def size(self, name: str, default: int | None = None, maximum: int = 2**31 - 1) -> int:
        """A whole number from 1; required unless there is a default."""
        value = self.data.get(name)
        value = default if value is None else value
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and value is not None and 1 <= value <= maximum:
            return int(value)
        found = "is missing" if value is None else f"must be from 1 to {maximum}, not {value!r:.50}"
        self.problems.append(f"{name} {found}")
        return 1

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.data.get(name)
        value = default if value is None else value
        if not isinstance(value, bool):
            self.problems.append(f"{name} must be true or false, not {value!r:.50}")
            return default
        return value


def _gpt2(config: _Config) -> Shapes:
    width, layers = config.size("n_embd"), config.size("n_layer", maximum=MAX_LAYERS)
    vocabulary, inner = config.size("vocab_size"), config.size("n_inner", 4 * width)
    if width % config.size("n_head"):
        config.problems.append(f"n_embd {width} must be a multiple of n_head")
    shapes: Shapes = {
        "transformer.wte.weight": (vocabulary, width),
        "transformer.wpe.weight": (config.size("n_positions"), width),
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
    if not config.flag("tie_word_embeddings", True):
        shapes[OUTPUT_LAYER] = (vocabulary, width)
    return shapes


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


@dataclass(frozen=True)
class _Llama:
    """Llama, and how a family differs from it."""

    head_dim: int | None = None
    """Default width of a head; without one the heads share the channels."""
    qkv_bias: bool | None = None
    """Whether queries, keys and values have biases; ``None``: as ``attention_bias`` says."""
    mlp_bias: bool = False
    """Whether ``mlp_bias`` is read."""
    qk_norm: bool = False
    """Whether queries and keys are normalized."""

    def __call__(self, config: _Config) -> Shapes:
        width, layers = (
            config.size("hidden_size"),
            config.size("num_hidden_layers", None, MAX_LAYERS),
        )
        vocabulary = config.size("vocab_size")
        shapes: Shapes = {"model.embed_tokens.weight": (vocabulary, width)}
        block = self._block(config, width)
        for layer in range(layers):
            shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
        shapes["model.norm.weight"] = (width,)
        if not config.flag("tie_word_embeddings", False):
            shapes[OUTPUT_LAYER] = (vocabulary, width)
        return shapes

    def _block(self, config: _Config, width: int) -> Shapes:
        heads = config.size("num_attention_heads")
        head = config.size("head_dim", self.head_dim or max(1, width // heads))
        keys = config.size("num_key_value_heads", heads) * head
        inner = config.size("intermediate_size")
        all_biased = self.qkv_bias is None and config.flag("attention_bias", False)
        biased = self.qkv_bias or all_biased
        mlp_bias = self.mlp_bias and config.flag("mlp_bias", False)
        shapes: Shapes = {
            "input_layernorm.weight": (width,),
            "post_attention_layernorm.weight": (width,),
        }
        maps = [
            ("self_attn.q_proj", heads * head, width, biased),
            ("self_attn.k_proj", keys, width, biased),
            ("self_attn.v_proj", keys, width, biased),
            ("self_attn.o_proj", width, heads * head, all_biased),
            ("mlp.gate_proj", inner, width, mlp_bias),
            ("mlp.up_proj", inner, width, mlp_bias),
            ("mlp.down_proj", width, inner, mlp_bias),
        ]
        for name, outputs, inputs, has_bias in maps:
            shapes[f"{name}.weight"] = (outputs, inputs)
            if has_bias:
                shapes[f"{name}.bias"] = (outputs,)
        if self.qk_norm:
            shapes |= {f"self_attn.{name}_norm.weight": (head,) for name in ("q", "k")}
        return shapes


def _llama_like(shapes: Callable[[_Config], Shapes]) -> Architecture:
    return Architecture(shapes, "model.", "model.embed_tokens.weight", (".rotary_emb.inv_freq",))


ARCHITECTURES: dict[str, Architecture] = {
    "gpt2": Architecture(
        _gpt2, "transformer.", "transformer.wte.weight", (".attn.bias", ".attn.masked_bias")
    ),
    "llama": _llama_like(_Llama(mlp_bias=True)),
    "mistral": _llama_like(_Llama(qkv_bias=False)),
    "qwen2": _llama_like(_Llama(qkv_bias=True)),
    "qwen3": _llama_like(_Llama(head_dim=128, qk_norm=True)),
}
"""By ``model_type``: what the training library can load, no more and no less."""


def _architecture(config: Mapping[str, Any]) -> Architecture:
    name = config.get("model_type")
    found = ARCHITECTURES.get(name) if isinstance(name, str) else None
    if found is None:
        known = ", ".join(MODEL_TYPES)
        raise ValueError(f"model_type {name!r:.100} is not supported; there is: {known}")
    return found


def _text(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _listed(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{kind} tensors: {', '.join(names[:_SHOWN])}{more}"
