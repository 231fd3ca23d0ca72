"""A model folder that is whole and tiny, made without the training library."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from tailrace.formats.model.families.family import Shapes
from tailrace.formats.model.tensors import expected_shapes

CONFIG: dict[str, Any] = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 3,
    "n_positions": 2,
    "n_embd": 2,
    "n_layer": 1,
    "n_head": 1,
}
"""A GPT-2 of some dozen numbers."""


TOKENIZER: dict[str, Any] = {
    "added_tokens": [{"id": 2, "content": "<|endoftext|>", "special": True}],
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "<|endoftext|>": 2}, "merges": []},
}
"""Its tokenizer."""


def safetensors(shapes: Shapes | None = None, dtype: str = "F32", fill: bytes = b"\0") -> bytes:
    """A file of these tensors, those of :data:`CONFIG` unless given, four bytes a number."""
    shapes = expected_shapes(CONFIG) if shapes is None else shapes
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + fill * end


def files() -> dict[str, bytes]:
    """Every file of the folder by its name."""
    return {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": safetensors(),
        "tokenizer.json": json.dumps(TOKENIZER).encode(),
    }


def write(folder: Path) -> Path:
    """Write the folder, which is made if it is not there; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (folder / name).write_bytes(content)
    return folder
