"""Header of a safetensors file, read with bounds and without its tensors.

The format (https://github.com/huggingface/safetensors#format): 8 bytes with the header's length N,
little-endian; N bytes of JSON, tensor name -> {dtype, shape, data_offsets}; the tensors' bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from tailrace.formats.model.tensors import Tensor
from tailrace.formats.outside_json import kind_problem, read_json
from tailrace.formats.wording import describe

PREFIX_BYTES = 8
"""Bytes before the header."""

MAX_HEADER_BYTES = 4 << 20
"""Longest accepted header in bytes, enough for some 30,000 tensors."""

MAX_DIMENSIONS = 8
"""Largest number of dimensions of a tensor."""

MAX_BYTES = 2**62
"""Largest offset, and largest length of a dimension."""


def header_length(prefix: bytes, size_bytes: int) -> int:
    """Return the length of the header in bytes.

    Raises:
        ValueError: A file of ``size_bytes`` that begins with ``prefix`` is not a safetensors file.
    """
    problem = kind_problem(prefix)
    if problem:
        raise ValueError(problem)
    length = int.from_bytes(prefix[:PREFIX_BYTES], "little")
    if len(prefix) < PREFIX_BYTES or not 2 <= length <= size_bytes - PREFIX_BYTES:
        raise ValueError(
            "is damaged or not a safetensors file (it does not begin with a header's length): "
            "fetch it again"
        )
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"has a header of {length} bytes, at most {MAX_HEADER_BYTES} allowed")
    return length


_MICROSCALED = ("F4", "F6_E2M3", "F6_E3M2", "F8_E8M0")
"""Types of microscaling formats (OCP MX, revision 1.0), which hold quantized weights alone."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a header."""

    tensor: Tensor
    """Type and shape."""
    start: int
    """Offset of the first byte, counted from the end of the header."""
    end: int
    """Offset after the last byte."""


# Bytes of one value.
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


def read_header(header: bytes, size_bytes: int) -> dict[str, Entry]:
    """Return the tensors of a file of ``size_bytes`` by name; they must fill the rest of it.

    Raises:
        ValueError: The header is wrong, or the file is cut; the message is a predicate.
    """
    try:
        tensors = read_json(header)
    except ValueError as error:
        raise ValueError(f"has a header that {error}") from error
    if not isinstance(tensors, dict):
        raise ValueError("is not a safetensors file: its header is not a JSON object")
    tensors.pop("__metadata__", None)
    entries = {name: _entry(name, entry) for name, entry in tensors.items()}
    _check_places(entries, size_bytes - PREFIX_BYTES - len(header))
    return entries


def _check_places(entries: Mapping[str, Entry], data_bytes: int) -> None:
    end = 0
    for name, entry in sorted(entries.items(), key=lambda named: (named[1].start, named[1].end)):
        if entry.start != end:
            raise ValueError(
                f"is damaged: the tensor {describe(name)} does not begin at byte {end}"
            )
        end = entry.end
    if end != data_bytes:
        raise ValueError(
            f"is cut or damaged: its tensors need {end} bytes, it has {data_bytes}: fetch it again"
        )


def _entry(name: str, description: object) -> Entry:
    fields: dict[str, Any] = description if isinstance(description, dict) else {}
    offsets, dtype, shape = fields.get("data_offsets"), fields.get("dtype"), fields.get("shape")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"has no data_offsets for the tensor {describe(name)}")
    if dtype in _MICROSCALED:
        raise ValueError(
            f"has a tensor {describe(name)} of the quantized type {dtype}: give the model as it "
            "was before its quantization"
        )
    if not isinstance(dtype, str) or dtype not in _BYTES:
        types = ", ".join(_BYTES)
        raise ValueError(f"has a tensor {describe(name)} whose dtype is none of {types}")
    start, end = offsets
    if not _are_sizes(shape) or math.prod(shape) * _BYTES[dtype] != end - start:
        raise ValueError(f"has a tensor {describe(name)} whose shape does not fit its bytes")
    return Entry(Tensor(dtype, tuple(shape)), start, end)


def _are_sizes(values: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(values, list)
        and len(values) <= MAX_DIMENSIONS
        and all(type(value) is int and 0 <= value <= MAX_BYTES for value in values)
    )
