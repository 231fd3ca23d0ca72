"""Check of a GGUF file's metadata: everything it counts must fit into the file.

The package that reads GGUF files trusts their counts, so a file of a few bytes could make it fill
the memory. Here nothing is allocated by a count that exceeds the file's size.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

MAX_VALUES = 2_000_000
"""Largest number of array values in the metadata; a 256,000-token vocabulary has 1.3 million."""

MAX_FIELDS = 65_536
"""Largest number of metadata fields, and of tensors."""

MAX_DIMENSIONS = 4
"""Largest number of dimensions of a tensor."""

MAX_NESTING = 4
"""Deepest nesting of arrays."""

_STRING, _ARRAY = 8, 9
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the scalar types, by their number in the specification."""

_SMALLEST_FIELD, _SMALLEST_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8


def check_bounds(path: Path) -> None:
    """Raise ``ValueError`` for a file that cannot hold its metadata."""
    with path.open("rb") as file:
        walk = _Walk(file)
        if walk.take(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        version = walk.number("I")
        if version & 0xFFFF == 0:
            walk.order = ">" if walk.order == "<" else "<"
        tensors, fields = walk.number("Q"), walk.number("Q")
        walk.require(tensors, _SMALLEST_TENSOR, MAX_FIELDS, "tensors")
        walk.require(fields, _SMALLEST_FIELD, MAX_FIELDS, "metadata fields")
        for _ in range(fields):
            walk.text()
            walk.value(walk.number("I"))
        for _ in range(tensors):
            walk.tensor()


class _Walk:
    """Reading position in a file, never past its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = self._size_bytes = os.fstat(file.fileno()).st_size
        self._values = 0
        self.order = "<"

    def take(self, count: int) -> bytes:
        """Read ``count`` bytes."""
        self._leave(count)
        return self._file.read(count)

    def number(self, form: str) -> int:
        """Read an integer in a format of :mod:`struct`."""
        value: int = struct.unpack(self.order + form, self.take(struct.calcsize(form)))[0]
        return value

    def text(self) -> None:
        """Skip a text."""
        self._skip(self.number("Q"))

    def value(self, kind: int, depth: int = 0) -> None:
        """Skip a value."""
        if kind == _STRING:
            self.text()
        elif kind == _ARRAY:
            self._array(depth + 1)
        else:
            self._skip(self._size(kind))

    def tensor(self) -> None:
        """Skip the description of a tensor."""
        self.text()
        dimensions = self.number("I")
        if dimensions > MAX_DIMENSIONS:
            raise ValueError(f"it has a tensor of {dimensions} dimensions")
        sizes = [self.number("Q") for _ in range(dimensions)]
        if math.prod(sizes) >= 2**48:
            raise ValueError("it has a tensor larger than any file")
        self._skip(4)
        if self.number("Q") > self._size_bytes:
            raise ValueError("it has a tensor that begins after its end")

    def require(self, count: int, size: int, limit: int, noun: str) -> None:
        """Raise for a count above its limit or without room in the rest of the file."""
        if count > limit or count * size > self._left:
            raise ValueError(f"it counts {count} {noun}, for which it has no room")

    def _array(self, depth: int) -> None:
        kind, count = self.number("I"), self.number("Q")
        if depth > MAX_NESTING:
            raise ValueError("its arrays are nested too deeply")
        self._values += count
        smallest = {_STRING: 8, _ARRAY: 12}.get(kind) or self._size(kind)
        self.require(count, smallest, MAX_VALUES, "values")
        if self._values > MAX_VALUES:
            raise ValueError(f"its arrays have more than {MAX_VALUES} values")
        if kind in _SCALARS:
            self._skip(count * smallest)
            return
        for _ in range(count):
            self.value(kind, depth)

    def _size(self, kind: int) -> int:
        if kind not in _SCALARS:
            raise ValueError(f"it has a value of the unknown type {kind}")
        return _SCALARS[kind]

    def _skip(self, count: int) -> None:
        self._leave(count)
        self._file.seek(count, os.SEEK_CUR)

    def _leave(self, count: int) -> None:
        if count > self._left:
            raise ValueError("it ends within its metadata")
        self._left -= count
