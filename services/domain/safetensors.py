"""What a safetensors file looks like from outside.

The format (https://github.com/huggingface/safetensors#format): 8 bytes with the header's length N,
little-endian; N bytes of JSON, tensor name -> {dtype, shape, data_offsets}; the tensors' bytes.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeGuard

from tailrace.formats.architectures import Tensor

PREFIX_BYTES = 8
"""Bytes before the header."""

MAX_HEADER_BYTES = 16 << 20
"""Longest header taken, in bytes: some 100,000 tensors."""


MAX_DIMENSIONS = 16
"""Most dimensions of a tensor."""

_MAX_DIGITS = 19


def header_length(prefix: bytes, size_bytes: int) -> int:
    """The length of the header in bytes.

    Raises :class:`ValueError` when a file of ``size_bytes`` that begins with ``prefix`` is no
    safetensors file.
    """
    length = int.from_bytes(prefix[:PREFIX_BYTES], "little")
    if len(prefix) < PREFIX_BYTES or not 2 <= length <= size_bytes - PREFIX_BYTES:
        raise ValueError("is not a safetensors file: it does not begin with a header's length")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"has a header of {length} bytes, at most {MAX_HEADER_BYTES} allowed")
    return length


# Bytes of one value.
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


def read_header(header: bytes, size_bytes: int) -> dict[str, Tensor]:
    """The tensors of a file of ``size_bytes``, which must fill the rest of it, by name.

    Raises :class:`ValueError` that says what is wrong.
    """
    try:
        entries = json.loads(header, parse_int=_size)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not a safetensors file: its header is not JSON") from error
    if not isinstance(entries, dict):
        raise ValueError("is not a safetensors file: its header is not a JSON object")
    entries.pop("__metadata__", None)
    data_bytes = size_bytes - PREFIX_BYTES - len(header)
    end = max((_end(name, entry) for name, entry in entries.items()), default=0)
    if end != data_bytes:
        raise ValueError(f"is cut or damaged: its tensors need {end} bytes, it has {data_bytes}")
    return {name: _tensor(name, entry) for name, entry in entries.items()}


def _size(digits: str) -> int:
    """A whole number of a header; as no file is so large, a longer one is refused."""
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"holds a number of {len(digits)} digits")
    return int(digits)


def _end(name: str, entry: object) -> int:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"has no data_offsets for the tensor {name[:100]!r}")
    return int(offsets[1])


def _tensor(name: str, entry: dict[str, Any]) -> Tensor:
    dtype, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or dtype not in _BYTES:
        known = ", ".join(_BYTES)
        raise ValueError(f"has a tensor {name[:100]!r} whose dtype is none of {known}")
    start, end = entry["data_offsets"]
    if (
        not _are_sizes(shape)
        or len(shape) > MAX_DIMENSIONS
        or math.prod(shape) * _BYTES[dtype] != end - start
    ):
        raise ValueError(f"has a tensor {name[:100]!r} whose shape does not fit its bytes")
    return Tensor(dtype, tuple(shape))


def _are_sizes(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
