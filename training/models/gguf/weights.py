"""Configuration and weights of models in GGUF files, the format of llama.cpp."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from training.errors import ModelConfigError
from training.models.family import Model, Params
from training.models.gguf.config import architecture_of, read_config
from training.models.gguf.file import GgufFile
from training.models.registry import model_from_config


def read_gguf(file: GgufFile) -> tuple[Model, Params]:
    """Return the model of a GGUF file and its parameters.

    Raises:
        ModelConfigError: An architecture or setting cannot be converted, or tensors do not fit the
            metadata.
    """
    model = model_from_config(read_config(file))
    names = _tensor_names(file, model)
    missing = sorted(set(names.values()) - file.names)
    unknown = sorted(file.names - set(names.values()) - set(architecture_of(file).tensors))
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
        name: jnp.asarray(_as_parameter(file, model, name, file.tensor(stored)))
        for name, stored in sorted(names.items())
    }


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


def _as_parameter(
    file: GgufFile, model: Model, name: str, value: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Undo what llama.cpp's converter does to a tensor.

    It adds 1 to factors of norms that are computed as 1 + weight. In queries and keys of some
    architectures the channels of a rotary pair are neighbours; in the model they are half a head
    apart.
    """
    config, architecture = model.config, architecture_of(file)
    if architecture.offset_norms and name.endswith("norm.weight"):
        return value - np.float32(1)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    count = heads.get(name.split(".")[-2])
    if not architecture.paired or count is None:
        return value
    pairs = value.reshape(count, config.head_dim // 2, 2, *value.shape[1:])
    return pairs.swapaxes(1, 2).reshape(value.shape)
