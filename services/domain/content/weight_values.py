"""Stored values that are not finite, found at the speed of copying bytes and without numpy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class _Layout:
    """Where a float type keeps its exponent, all of whose bits are one in NaN and infinity."""

    size: int
    """Bytes of a value."""
    high: bytes
    """A table that maps the last byte of a value to 255 where its share of the bits is one."""
    low: bytes | None
    """Likewise for the byte before it; ``None`` when the last one has them all."""


def _table(mask: int) -> bytes:
    return bytes(255 if byte & mask == mask else 0 for byte in range(256))


_LAYOUTS = {
    "F64": _Layout(8, _table(0x7F), _table(0xF0)),
    "F32": _Layout(4, _table(0x7F), _table(0x80)),
    "BF16": _Layout(2, _table(0x7F), _table(0x80)),
    "F16": _Layout(2, _table(0x7C), None),
}


def has_non_finite(dtype: str, values: bytes) -> bool:
    """Return whether stored values (little-endian) include a NaN or an infinity."""
    layout = _LAYOUTS[dtype]
    high = values[layout.size - 1 :: layout.size].translate(layout.high)
    if not high.strip(b"\0"):
        return False
    if layout.low is None:
        return True
    low = values[layout.size - 2 :: layout.size].translate(layout.low)
    return int.from_bytes(high, "little") & int.from_bytes(low, "little") != 0
