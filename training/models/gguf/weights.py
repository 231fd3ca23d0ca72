"""Configuration and weights of models in GGUF files, the format of llama.cpp.

Quantized tensors are converted to float32, without recovering their original values. Names of
metadata and tensors follow the specification,
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigError, ModelConfigError, ModelNotFoundError
from training.models.family import Model, Params
from training.models.gguf.bounds import check_bounds
from training.models.registry import model_from_config
from training.models.rotary import Llama3Scaling, Rotary

if TYPE_CHECKING:
    from gguf import GGUFReader

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Architectures that can be converted; a Mistral has ``llama`` as ``general.architecture``."""

_SIZES = {
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
}
_REFUSED = ("expert_count", "attention.sliding_window", "rope.scaling.type")
_ROTARY_FACTORS = "rope_freqs.weight"


class GgufFile:
    """GGUF file: metadata as plain values, tensors by name."""

    def __init__(self, path: Path) -> None:
        """Open a file and read its metadata.

        Raises:
            ModelNotFoundError: The file does not exist.
            ModelConfigError: It is damaged or not a GGUF file.
            ConfigError: The package ``gguf`` is missing.
        """
        if not path.is_file():
            raise ModelNotFoundError(f"{path} does not exist")
        self.path = path
        reader = _open(path)
        self.metadata = {name: field.contents() for name, field in reader.fields.items()}
        """Metadata by key, such as ``llama.block_count``."""
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.architecture = str(self.metadata.get("general.architecture"))
        """Value of ``general.architecture``."""

    @property
    def names(self) -> set[str]:
        """Names of the tensors."""
        return set(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, slowest axis first."""
        return tuple(int(size) for size in reversed(self._tensors[name].shape))

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Return a tensor as float32. Raises :class:`ModelConfigError` for an unknown type."""
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise ModelConfigError(f"{self.path}: {name}: {error}") from error
        return np.asarray(values, np.float32).reshape(self.shape(name))

    def setting(self, name: str) -> Any:
        """Return metadata of the architecture, such as ``block_count``; None if absent."""
        return self.metadata.get(f"{self.architecture}.{name}")

    def special(self, name: str) -> int | None:
        """Return the id of a special token, such as ``eos``; None if absent."""
        value = self.metadata.get(f"tokenizer.ggml.{name}_token_id")
        return None if value is None else int(value)


def read_gguf(file: GgufFile) -> tuple[Model, Params]:
    """Return the model of a GGUF file and its parameters.

    Raises:
        ModelConfigError: An architecture or setting cannot be converted, or tensors do not fit the
            metadata.
    """
    model = model_from_config(_config(file))
    names = _tensor_names(file, model)
    missing = sorted(set(names.values()) - file.names)
    unknown = sorted(file.names - set(names.values()) - {_ROTARY_FACTORS})
    wrong = [
        f"{stored} is {file.shape(stored)}, not {model.shapes[name]}"
        for name, stored in names.items()
        if stored in file.names and file.shape(stored) != model.shapes[name]
    ]
    if missing or unknown or wrong:
        raise ModelConfigError(
            f"{file.path}: the tensors do not fit the metadata: wrong: {wrong[:5]}; "
            f"missing: {missing[:5]}; unknown: {unknown[:5]}"
        )
    return model, {
        name: jnp.asarray(_natural_order(file, model, name, file.tensor(stored)))
        for name, stored in sorted(names.items())
    }


def _open(path: Path) -> GGUFReader:
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError as error:
        raise ConfigError("reading GGUF files needs the package gguf: pip install gguf") from error
    try:
        check_bounds(path)
        return GGUFReader(path)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise ModelConfigError(f"{path} is damaged or not a GGUF file: {error}") from error


def _config(file: GgufFile) -> dict[str, Any]:
    """Return the ``config.json`` that the metadata describes."""
    if file.architecture not in ARCHITECTURES:
        raise ModelConfigError(
            f"{file.path}: architecture {file.architecture!r} is not converted; "
            f"known: {', '.join(ARCHITECTURES)}"
        )
    refused = [name for name in _REFUSED if file.setting(name) not in (None, 0, "none")]
    if refused:
        raise ModelConfigError(
            f"{file.path}: not converted: "
            + ", ".join(f"{name} = {file.setting(name)}" for name in refused)
        )
    config: dict[str, Any] = {name: file.setting(key) for name, key in _SIZES.items()}
    heads = file.setting("attention.head_count")
    width = file.setting("attention.key_length") or file.setting("rope.dimension_count")
    theta = file.setting("rope.freq_base")
    if "token_embd.weight" in file.names:
        config["vocab_size"] = file.shape("token_embd.weight")[0]
    return {
        **config,
        "model_type": file.architecture,
        "num_key_value_heads": file.setting("attention.head_count_kv") or heads,
        "head_dim": width,
        "rms_norm_eps": _shortest(file.setting("attention.layer_norm_rms_epsilon")),
        "rope_theta": theta,
        "rope_scaling": _scaling(file, width, theta),
        "attention_bias": "blk.0.attn_output.bias" in file.names,
        "tie_word_embeddings": "output.weight" not in file.names,
        "bos_token_id": file.special("bos"),
        "pad_token_id": file.special("padding"),
    }


def _shortest(value: Any) -> float | None:
    """Return the shortest decimal of a float32: 1e-05, not 9.9999997e-06."""
    return None if value is None else float(str(np.float32(value)))


def _scaling(file: GgufFile, width: Any, theta: Any) -> dict[str, Any] | None:
    """Return Llama 3's rotary scaling, which GGUF stores as a divisor per frequency."""
    if _ROTARY_FACTORS not in file.names:
        return None
    divisors = file.tensor(_ROTARY_FACTORS)
    # All Llama 3 models share the other three values, which are checked below.
    scaling = Llama3Scaling(float(divisors.max()), 8192)
    plain = Rotary(float(theta)).frequencies(int(width))
    if not np.allclose(plain / scaling.scale(plain, float(theta)), divisors, rtol=1e-3):
        raise ModelConfigError(f"{file.path}: {_ROTARY_FACTORS} is not Llama 3's rotary scaling")
    return {"rope_type": "llama3", **asdict(scaling)}


def _tensor_names(file: GgufFile, model: Model) -> dict[str, str]:
    """Return the file's tensor name of each parameter."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architectures = {name: key for key, name in MODEL_ARCH_NAMES.items()}
    table = get_tensor_name_map(architectures[file.architecture], int(file.setting("block_count")))
    names: dict[str, str] = {}
    for name in model.shapes:
        place, _, kind = name.rpartition(".")
        names[name] = f"{table.get_name(place)}.{kind}"
    return names


def _natural_order(
    file: GgufFile, model: Model, name: str, value: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Undo the reordering of query and key rows in files of architecture ``llama``.

    In these files the channels of a rotary pair are neighbours; in the model they are half a head
    apart.
    """
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    count = heads.get(name.split(".")[-2])
    if file.architecture != "llama" or count is None:
        return value
    pairs = value.reshape(count, config.head_dim // 2, 2, *value.shape[1:])
    return pairs.swapaxes(1, 2).reshape(value.shape)
