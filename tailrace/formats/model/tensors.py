"""The tensors of a model, derived from its config.json alone, and the check of stored weights.

No JAX is needed: names and shapes are those of Hugging Face's checkpoints, and tests compare the
training library's modules with them. So a model that can never be loaded is refused before a run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.formats.model.config import read_model_config
from tailrace.formats.model.families import FAMILIES
from tailrace.formats.model.families.family import OUTPUT_LAYER, Family, Shapes
from tailrace.formats.model.quantization import tensor_quantization
from tailrace.formats.wording import name_text

FLOATS = ("F64", "F32", "F16", "BF16")
"""Accepted safetensors types of weights."""

_SHOWN = 5


@dataclass(frozen=True)
class Tensor:
    """One tensor as the header of a safetensors file lists it."""

    dtype: str
    """``F32``, ``BF16`` …"""
    shape: tuple[int, ...]
    """Length of each dimension."""


def expected_shapes(config: Mapping[str, Any]) -> Shapes:
    """Return the tensors of the model that a config.json describes.

    Raises:
        ValueError: No run can use the configuration; the message lists every problem.
    """
    values = read_model_config(config)
    return FAMILIES[config["model_type"]].shapes(values)


def weight_problems(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the differences between stored tensors and their config.json; empty if they fit.

    Values are not compared: a stored output layer that should be the input embedding may still
    differ from it (:func:`tied_pair`). Raises as :func:`expected_shapes`.
    """
    return tensor_problems(FAMILIES[config["model_type"]], expected_shapes(config), tensors)


def tensor_problems(family: Family, shapes: Shapes, tensors: Mapping[str, Tensor]) -> str:
    """Return the differences as :func:`weight_problems` does."""
    wrong: list[str] = []
    unknown: list[str] = []
    seen: set[str] = set()
    for stored, tensor in sorted(tensors.items()):
        name = parameter_name(stored, shapes, family)
        shape = shapes[family.embedding] if name == OUTPUT_LAYER else shapes.get(name)
        if shape is None:
            if not stored.endswith(family.buffers):
                unknown.append(f"{name_text(stored)} {_text(tensor.shape)}")
        elif tensor.shape != shape:
            wrong.append(f"{name_text(stored)} is {_text(tensor.shape)}, not {_text(shape)}")
        elif tensor.dtype not in FLOATS:
            wrong.append(
                f"{name_text(stored)} holds {tensor.dtype}, not one of {', '.join(FLOATS)}"
            )
        seen.add(name)
    if OUTPUT_LAYER in seen and OUTPUT_LAYER not in shapes:
        seen.add(family.embedding)  # One tensor stands for both.
    missing = [f"{name} {_text(shape)}" for name, shape in shapes.items() if name not in seen]
    kinds = {"wrong": wrong, "unknown": unknown, "missing": missing}
    listed = "; ".join(_listed(kind, names) for kind, names in kinds.items() if names)
    return listed + _way_out(tensors, kinds) if listed else ""


def parameter_name(stored: str, shapes: Mapping[str, object], family: Family) -> str:
    """Return the parameter name of a stored tensor; checkpoints may lack the prefix."""
    return stored if stored in shapes or stored == OUTPUT_LAYER else family.prefix + stored


def tied_pair(
    family: Family, shapes: Mapping[str, object], tensors: Collection[str]
) -> tuple[str, str] | None:
    """Return the stored names of embedding and output layer if both must be equal."""
    if OUTPUT_LAYER in shapes or OUTPUT_LAYER not in tensors:
        return None
    names = (family.embedding, family.embedding.removeprefix(family.prefix))
    stored = next((name for name in names if name in tensors), None)
    return None if stored is None else (stored, OUTPUT_LAYER)


TIED_PROBLEM = (
    f"{OUTPUT_LAYER} differs from the input embedding, though tie_word_embeddings is true: set "
    "tie_word_embeddings to false in config.json, or remove the tensor"
)
"""Predicate for weights whose :func:`tied_pair` differs."""

_WRAPPERS = {
    "_orig_mod.": "torch.compile: save the module inside it (model._orig_mod)",
    "module.": "DataParallel or DeepSpeed: save the module inside it (model.module)",
    "base_model.model.": "an adapter that is not merged: save model.merge_and_unload()",
    "language_model.": "a multimodal model: save its language model on its own",
}
"""Prefixes of tensor names of models that were saved inside a wrapper."""


def _way_out(tensors: Mapping[str, Tensor], kinds: Mapping[str, list[str]]) -> str:
    """Return the way out for tensors that do not fit."""
    quantization = tensor_quantization({name: t.dtype for name, t in tensors.items()})
    if quantization:
        return f" ({quantization})"
    if kinds["unknown"]:
        for prefix, cause in _WRAPPERS.items():
            if any(name.startswith(prefix) for name in tensors):
                return f" (names that begin with {prefix!r} come from {cause})"
        if any(".base_layer." in name or ".lora_" in name for name in tensors):
            return f" (these come from {_WRAPPERS['base_model.model.']})"
    if not kinds["wrong"] and [name.split()[0] for name in kinds["missing"]] == [OUTPUT_LAYER]:
        return " (where it is the input embedding, set tie_word_embeddings to true in config.json)"
    return " (take the config.json that belongs to these weights, or fetch both again)"


def _text(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _listed(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{kind} tensors: {', '.join(names[:_SHOWN])}{more}"
