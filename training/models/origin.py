"""The model folder that a training starts from: what a saved model keeps of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tailrace.formats.spec.train_spec import SaveDtype
from training.errors import ModelConfigError
from training.models.family import Model, Params
from training.models.folder import GENERATION_CONFIG, end_tokens, named_ends, read_config
from training.models.weights import stored_types

_TYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
}
"""The float types that weights are read from, as safetensors names them."""

_FIXED: dict[SaveDtype, Any] = {
    SaveDtype.FLOAT32: np.float32,
    SaveDtype.BFLOAT16: jnp.bfloat16,
}

_KEPT = ("bos_token_id", "eos_token_id", "pad_token_id", "dtype", "torch_dtype")
"""Keys of config.json that say nothing of the architecture, and outlive a training."""


@dataclass(frozen=True)
class Origin:
    """A model folder as it was before the training."""

    config: Mapping[str, Any]
    """Its config.json."""
    generation_config: str | None
    """Its generation_config.json; None where it has none."""
    dtypes: Mapping[str, Any]
    """The type that each parameter is stored in."""

    @classmethod
    def read(cls, folder: Path, model: Model) -> Origin:
        """Read what is kept of a folder; errors as :func:`training.models.folder.load_model`."""
        end_tokens(folder)  # A file that cannot be read must not end the training, but prevent it.
        path = folder / GENERATION_CONFIG
        generation = path.read_bytes().decode("utf-8") if path.is_file() else None
        types = stored_types(folder, model)
        dtypes = {name: _TYPES.get(kind, np.float32) for name, kind in types.items()}
        return cls(read_config(folder), generation, dtypes)

    @classmethod
    def fresh(cls, model: Model, end: int) -> Origin:
        """Return the origin of a model without a folder: float32, one special token."""
        config = {"bos_token_id": end, "eos_token_id": end, "dtype": "float32"}
        return cls(config, None, dict.fromkeys(model.shapes, np.float32))

    def config_facts(self, choice: SaveDtype, end: int) -> dict[str, Any]:
        """Return what config.json says of tokens and type; ``end`` is the token taught to end."""
        facts = {name: self.config[name] for name in _KEPT if name in self.config}
        if self.generation_config is None:
            facts["eos_token_id"] = with_end(self.config.get("eos_token_id"), end)
        if choice is not SaveDtype.SOURCE:
            facts.pop("torch_dtype", None)
            facts["dtype"] = choice.value
        return facts

    def generation_text(self, end: int) -> str | None:
        """Return generation_config.json, unchanged where it knows the token taught to end."""
        if self.generation_config is None:
            return None
        settings = json.loads(self.generation_config)
        ends = with_end(settings.get("eos_token_id"), end)
        if ends == settings.get("eos_token_id"):
            return self.generation_config
        return json.dumps({**settings, "eos_token_id": ends}, indent=2, sort_keys=True) + "\n"

    def cast(self, params: Params, choice: SaveDtype) -> dict[str, NDArray[Any]]:
        """Return the parameters in the type that each is saved in; errors as :func:`cast`."""
        return cast(params, self.saved_types(params, choice))

    def saved_types(self, names: Iterable[str], choice: SaveDtype) -> dict[str, Any]:
        """Return the type that each parameter is saved in."""
        fixed = _FIXED.get(choice)
        return {name: fixed or self.dtypes[name] for name in names}

    def saved_bytes(self, model: Model, choice: SaveDtype) -> int:
        """Return the size of the model's weights as they are saved."""
        types = self.saved_types(model.shapes, choice)
        return sum(
            math.prod(shape) * np.dtype(types[name]).itemsize
            for name, shape in model.shapes.items()
        )


def with_end(ends: Any, end: int) -> Any:
    """Return ``eos_token_id`` of a configuration with one more token, if it lacks it."""
    known = named_ends(ends)
    if end in known:
        return ends
    return [*known, end] if known else end


def cast(params: Mapping[str, Any], dtypes: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return parameters in other types.

    Raises:
        ModelConfigError: A value has no finite number in its type, named by its tensor.
    """
    with np.errstate(over="ignore"):
        values = {name: np.asarray(value).astype(dtypes[name]) for name, value in params.items()}
    lost = sorted(name for name, value in values.items() if not _is_finite(value))
    if lost:
        raise ModelConfigError(
            f"trained values are too large for the type of the source: {_listed(lost)}; set "
            "train.save_dtype to float32 or bfloat16"
        )
    return values


def _is_finite(value: NDArray[Any]) -> bool:
    return bool(np.isfinite(value.astype(np.float32) if value.dtype.itemsize < 4 else value).all())


def _listed(names: Iterable[str]) -> str:
    first, *others = names
    return f"{first} and {len(others)} more" if others else first
