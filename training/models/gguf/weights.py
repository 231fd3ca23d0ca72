"""Models in GGUF files (llama.cpp's format) as our own: configuration and weights.

Quantized tensors are widened to float32; the values stay those of the quantization. Names of
metadata and tensors are those of the format's specification,
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
"""What can be converted, by ``general.architecture``; a Mistral calls itself ``llama`` there."""

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
    """A GGUF file: metadata as plain values, tensors by name."""

    def __init__(self, path: Path) -> None:
        """Open a file; only its metadata is read.

        Raises :class:`training.errors.ModelNotFoundError` when it is missing,
        :class:`training.errors.ModelConfigError` when it is damaged or none, and
        :class:`training.errors.ConfigError` without the package ``gguf``.
        """
        if not path.is_file():
            raise ModelNotFoundError(f"there is no file {path}")
        self.path = path
        reader = _open(path)
        self.metadata = {name: field.contents() for name, field in reader.fields.items()}
        """By key, such as ``llama.block_count``."""
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.architecture = str(self.metadata.get("general.architecture"))
        """``general.architecture``."""

    @property
    def names(self) -> set[str]:
        """Names of the tensors."""
        return set(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, the slowest axis first."""
        return tuple(int(size) for size in reversed(self._tensors[name].shape))

    def tensor(self, name: str) -> NDArray[np.float32]:
        """A tensor's values, widened. Raises :class:`ModelConfigError` for an unknown type."""
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise ModelConfigError(f"{self.path}: {name}: {error}") from error
        return np.asarray(values, np.float32).reshape(self.shape(name))

    def setting(self, name: str) -> Any:
        """Metadata of the architecture, such as ``block_count``; None when it is absent."""
        return self.metadata.get(f"{self.architecture}.{name}")

    def special(self, name: str) -> int | None:
        """The id of a special token, such as ``eos``; None when there is none."""
        value = self.metadata.get(f"tokenizer.ggml.{name}_token_id")
        return None if value is None else int(value)


def read_gguf(file: GgufFile) -> tuple[Model, Params]:
    """The model of a GGUF file.

    Raises :class:`training.errors.ModelConfigError` for an architecture or setting that is not
    converted, by name, and for tensors that do not fit the metadata.
    """
    model = model_from_config(_config(file))
    names = _tensor_names(file, model)
    missing = sorted(set(names.values()) - file.names)
    unknown = sorted(file.names - set(names.values()) - {_ROTARY_FACTORS})
    wrong = [
        f"{there} is {file.shape(there)}, not {model.shapes[here]}"
        for here, there in names.items()
        if there in file.names and file.shape(there) != model.shapes[here]
    ]
    if missing or unknown or wrong:
        raise ModelConfigError(
            f"{file.path}: the tensors do not fit the metadata: wrong: {wrong[:5]}; "
            f"missing: {missing[:5]}; unknown: {unknown[:5]}"
        )
    return model, {
        here: jnp.asarray(_natural_order(file, model, here, file.tensor(there)))
        for here, there in sorted(names.items())
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
    """The ``config.json`` that the metadata amounts to."""
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
    """Metadata hold float32, which reads 9.9999997e-06 where the model says 1e-05."""
    return None if value is None else float(str(np.float32(value)))


def _scaling(file: GgufFile, width: Any, theta: Any) -> dict[str, Any] | None:
    """Llama 3's rotary scaling, which GGUF stores as a divisor for each frequency."""
    if _ROTARY_FACTORS not in file.names:
        return None
    divisors = file.tensor(_ROTARY_FACTORS)
    # All Llama 3 models share the other three values; that they fit is checked.
    scaling = Llama3Scaling(float(divisors.max()), 8192)
    plain = Rotary(float(theta)).frequencies(int(width))
    if not np.allclose(plain / scaling.scale(plain, float(theta)), divisors, rtol=1e-3):
        raise ModelConfigError(f"{file.path}: {_ROTARY_FACTORS} is not Llama 3's rotary scaling")
    return {"rope_type": "llama3", **asdict(scaling)}


def _tensor_names(file: GgufFile, model: Model) -> dict[str, str]:
    """The file's tensor name for each parameter."""
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

    There the two channels of a rotary pair are neighbours; here they are half a head apart.
    """
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    count = heads.get(name.split(".")[-2])
    if file.architecture != "llama" or count is None:
        return value
    pairs = value.reshape(count, config.head_dim // 2, 2, *value.shape[1:])
    return pairs.swapaxes(1, 2).reshape(value.shape)
