"""A first walk over a GGUF file's metadata: whatever it counts must be in the file.

The package that reads GGUF files believes their counts, so that a file of a few bytes could make it
fill the memory. Here nothing is allocated by a count before the file's size allows it.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

MAX_VALUES = 2_000_000
"""Most values of all arrays in the metadata; a vocabulary of 256,000 tokens has 1.3 million."""

MAX_FIELDS = 65_536
"""Most metadata fields, and most tensors."""

MAX_DIMENSIONS = 4
"""Most dimensions of a tensor."""

MAX_NESTING = 4
"""Deepest arrays of arrays."""

_STRING, _ARRAY = 8, 9
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the other value types, by their number in the specification."""

_SMALLEST_FIELD, _SMALLEST_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8


def check_bounds(path: Path) -> None:
    """Raise ``ValueError`` for a file whose metadata cannot be in it."""
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
    """A position in a file, which never goes past its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = os.fstat(file.fileno()).st_size
        self._values = 0
        self.order = "<"

    def take(self, count: int) -> bytes:
        """Read so many bytes."""
        self._leave(count)
        return self._file.read(count)

    def number(self, form: str) -> int:
        """Read a whole number in a form of :mod:`struct`."""
        value: int = struct.unpack(self.order + form, self.take(struct.calcsize(form)))[0]
        return value

    def text(self) -> None:
        """Pass over a text."""
        self._skip(self.number("Q"))

    def value(self, kind: int, depth: int = 0) -> None:
        """Pass over a value."""
        if kind == _STRING:
            self.text()
        elif kind == _ARRAY:
            self._array(depth + 1)
        else:
            self._skip(self._size(kind))

    def tensor(self) -> None:
        """Pass over the description of a tensor."""
        self.text()
        dimensions = self.number("I")
        if dimensions > MAX_DIMENSIONS:
            raise ValueError(f"it has a tensor of {dimensions} dimensions")
        sizes = [self.number("Q") for _ in range(dimensions)]
        if math.prod(sizes) >= 2**48:
            raise ValueError("it has a tensor larger than any file")
        self._skip(4 + 8)

    def require(self, count: int, size: int, most: int, noun: str) -> None:
        """Raise for a count of things that have no room in the rest of the file."""
        if count > most or count * size > self._left:
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
