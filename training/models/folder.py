"""Model folders in Hugging Face layout: config.json and model.safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from training.errors import ModelConfigError, ModelNotFoundError
from training.models.family import Model, Params
from training.models.registry import model_from_config

WEIGHTS = "model.safetensors"
"""The weights' file name."""

CONFIG = "config.json"
"""The configuration's file name."""

_SHOWN = 5


def load_model(folder: Path) -> tuple[Model, Params]:
    """Read a model folder; weights of any float type come back as float32.

    Raises :class:`training.errors.ModelNotFoundError` when a file is missing and
    :class:`training.errors.ModelConfigError` for an unsupported architecture or wrong tensors.
    """
    model = model_from_config(read_config(folder))
    return model, _read_weights(folder / WEIGHTS, model)


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a model folder; errors as :func:`load_model`."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"{folder} is no model folder: it has no {CONFIG}") from error
    except ValueError as error:
        raise ModelConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelConfigError(f"{path} must hold an object")
    return config


def save_model(folder: Path, model: Model, params: Params, eos_token_id: int) -> None:
    """Write config.json and model.safetensors so that transformers opens the folder.

    The same parameters give the same bytes. Raises :class:`OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        **model.family.dump_config(model.config),
        "bos_token_id": eos_token_id,
        "eos_token_id": eos_token_id,
        "dtype": "float32",
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    tensors = {name: np.ascontiguousarray(value) for name, value in sorted(params.items())}
    save_file(tensors, str(folder / WEIGHTS), metadata={"format": "pt"})
    # The library makes it readable to its owner only; the folder's other files are not.
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)


def _read_weights(path: Path, model: Model) -> Params:
    if not path.is_file():
        raise ModelNotFoundError(
            f"{path.parent} has no {WEIGHTS}; other formats (pickled or sharded weights) are not "
            f"read: save the model as one safetensors file"
        )
    shapes = model.shapes
    prefix = model.family.prefix
    params: Params = {}
    unknown: list[str] = []
    wrong: list[str] = []
    try:
        # numpy lacks bfloat16, so tensors are read as JAX arrays and widened.
        with safe_open(str(path), framework="flax") as file:
            for stored in file.keys():  # noqa: SIM118 - the file is no mapping
                name = stored if stored.startswith(prefix) else prefix + stored
                if name not in shapes:
                    if not _is_buffer(name):
                        unknown.append(stored)
                    continue
                value = file.get_tensor(stored)
                if tuple(value.shape) != shapes[name]:
                    wrong.append(f"{stored} is {tuple(value.shape)}, not {shapes[name]}")
                elif not jnp.issubdtype(value.dtype, jnp.floating):
                    wrong.append(f"{stored} holds {value.dtype}, not floats")
                else:
                    params[name] = value.astype(jnp.float32)
    except SafetensorError as error:
        raise ModelConfigError(f"{path} is not a safetensors file: {error}") from error
    missing = sorted(set(shapes) - set(params)) if not wrong else []
    problems = [*wrong[:_SHOWN], *_listed("unknown", unknown), *_listed("missing", missing)]
    if problems:
        raise ModelConfigError(f"{path} does not fit {CONFIG}: " + "; ".join(problems))
    return dict(sorted(params.items()))


def _is_buffer(name: str) -> bool:
    # Old checkpoints store the causal mask and a copy of the tied output embedding.
    return name.endswith((".attn.bias", ".attn.masked_bias", "lm_head.weight"))


def _listed(kind: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{kind} tensors {', '.join(names[:_SHOWN])}{more}"]
