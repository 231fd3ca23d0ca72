"""What a safetensors file looks like from outside.

The format (https://github.com/huggingface/safetensors#format): 8 bytes with the header's length N,
little-endian; N bytes of JSON, tensor name -> {dtype, shape, data_offsets}; the tensors' bytes.
"""

from __future__ import annotations

import json

PREFIX_BYTES = 8
"""Bytes before the header."""

MAX_HEADER_BYTES = 16 << 20
"""Longest header taken, in bytes: some 100,000 tensors."""


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


def check_header(header: bytes, size_bytes: int) -> None:
    """Check the header of a file of ``size_bytes``: the tensors must fill the rest of it.

    Raises :class:`ValueError` that says what is wrong.
    """
    try:
        tensors = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not a safetensors file: its header is not JSON") from error
    if not isinstance(tensors, dict):
        raise ValueError("is not a safetensors file: its header is not a JSON object")
    data_bytes = size_bytes - PREFIX_BYTES - len(header)
    end = max((_end(name, t) for name, t in tensors.items() if name != "__metadata__"), default=0)
    if end != data_bytes:
        raise ValueError(f"is cut or damaged: its tensors need {end} bytes, it has {data_bytes}")


def _end(name: str, tensor: object) -> int:
    offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
    if (
        not isinstance(offsets, list)
        or [type(offset) for offset in offsets] != [int, int]
        or not 0 <= offsets[0] <= offsets[1]
    ):
        raise ValueError(f"has no data_offsets for the tensor {name[:100]!r}")
    return int(offsets[1])
