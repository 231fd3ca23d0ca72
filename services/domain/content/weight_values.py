"""Detection of stored values that are not finite, as fast as copying bytes and without numpy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class _Layout:
    """Place of the exponent in a float type; NaN and infinity have all its bits set."""

    size: int
    """Size of a value in bytes."""
    high: bytes
    """Table that maps the last byte of a value to 255 if its exponent bits are all set."""
    low: bytes | None
    """Likewise for the byte before it; ``None`` if the last byte has the whole exponent."""


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
