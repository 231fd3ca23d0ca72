"""Model folder that a training starts from, and the parts that a saved model keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from tailrace.formats.spec.train_spec import SaveDtype
from training.models.family import Model
from training.models.folder import GENERATION_CONFIG, end_tokens, named_ends, read_config
from training.models.stored_weights import stored_types
from training.models.tensor_blocks import FLOATS

_FIXED: dict[SaveDtype, Any] = {
    SaveDtype.FLOAT32: np.float32,
    SaveDtype.BFLOAT16: jnp.bfloat16,
}

_KEPT = ("bos_token_id", "eos_token_id", "pad_token_id", "dtype", "torch_dtype")
"""Keys of config.json that do not describe the architecture and that a saved model keeps."""


@dataclass(frozen=True)
class Origin:
    """Model folder before the training."""

    config: Mapping[str, Any]
    """Content of config.json."""
    generation_config: str | None
    """Text of generation_config.json; None for a folder without one."""
    dtypes: Mapping[str, Any]
    """Stored type of each parameter."""
    ends: frozenset[int] = frozenset()
    """Tokens that its files name as ends of an answer."""

    @classmethod
    def read(cls, folder: Path, model: Model) -> Origin:
        """Read the kept parts of a folder; errors as :func:`training.models.folder.open_model`."""
        ends = end_tokens(folder)  # An unreadable file must fail before the training.
        path = folder / GENERATION_CONFIG
        generation = path.read_bytes().decode("utf-8") if path.is_file() else None
        types = stored_types(folder, model)
        dtypes = {name: FLOATS[kind] for name, kind in types.items()}
        return cls(read_config(folder), generation, dtypes, ends)

    @classmethod
    def fresh(cls, model: Model, end: int) -> Origin:
        """Return the origin of a model without a folder: float32, one special token."""
        config = {"bos_token_id": end, "eos_token_id": end, "dtype": "float32"}
        return cls(config, None, dict.fromkeys(model.shapes, np.float32), frozenset({end}))

    def config_facts(self, choice: SaveDtype, end: int) -> dict[str, Any]:
        """Return the keys of token ids and dtype for config.json; ``end`` is the taught end."""
        facts = {name: self.config[name] for name in _KEPT if name in self.config}
        if self.generation_config is None:
            facts["eos_token_id"] = with_end(self.config.get("eos_token_id"), end)
        if choice is not SaveDtype.SOURCE:
            facts.pop("torch_dtype", None)
            facts["dtype"] = choice.value
        return facts

    def generation_text(self, end: int) -> str | None:
        """Return generation_config.json, unchanged if it contains the taught end token."""
        if self.generation_config is None:
            return None
        settings = json.loads(self.generation_config)
        ends = with_end(settings.get("eos_token_id"), end)
        if ends == settings.get("eos_token_id"):
            return self.generation_config
        return json.dumps({**settings, "eos_token_id": ends}, indent=2, sort_keys=True) + "\n"

    def saved_types(self, names: Iterable[str], choice: SaveDtype) -> dict[str, Any]:
        """Return the type for saving of each parameter."""
        fixed = _FIXED.get(choice)
        return {name: fixed or self.dtypes[name] for name in names}

    def saved_bytes(self, model: Model, choice: SaveDtype) -> int:
        """Return the size of the saved weights in bytes."""
        types = self.saved_types(model.shapes, choice)
        return sum(
            math.prod(shape) * np.dtype(types[name]).itemsize
            for name, shape in model.shapes.items()
        )


def with_end(ends: Any, end: int) -> Any:
    """Return ``eos_token_id`` of a configuration with ``end`` added if missing."""
    ids = named_ends(ends)
    if end in ids:
        return ends
    return [*ids, end] if ids else end
