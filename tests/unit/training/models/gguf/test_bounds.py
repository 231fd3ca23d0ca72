from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import ModelConfigError
from training.models.gguf.bounds import check_bounds
from training.models.gguf.file import GgufFile


def head(tensors: int, fields: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, fields)


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def array(kind: int, count: int, content: bytes = b"") -> bytes:
    return text(b"a") + struct.pack("<IIQ", 9, kind, count) + content


HUGE = 2**40
HOSTILE = {
    "tensors": head(HUGE, 0),
    "fields": head(0, 2**62),
    "a text": head(0, 1) + struct.pack("<Q", HUGE),
    "numbers": head(0, 1) + array(4, HUGE),
    "texts": head(0, 1) + array(8, 2**31),
    "arrays": head(0, 1) + array(9, 2**31),
    "nesting": head(0, 1) + array(9, 1, struct.pack("<IQ", 9, 1) * 100),
    "dimensions": head(1, 0) + text(b"t") + struct.pack("<I", 2**31) + b"\0" * 40,
    "a size": head(1, 0) + text(b"t") + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0),
    "an offset": head(1, 0) + text(b"t") + struct.pack("<IQIQ", 1, 1, 0, 2**64 - 8) + b"\0" * 64,
    "a type": head(0, 1) + text(b"a") + struct.pack("<I", 99),
    "nothing": b"",
    "another file": b"PK\x03\x04" * 20,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_counts_must_have_room_in_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(HOSTILE[name])
    assert path.stat().st_size < 2000
    tracemalloc.start()
    with pytest.raises(ModelConfigError, match=r"is damaged or not a GGUF file: its? "):
        GgufFile(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@given(st.binary(max_size=200))
def test_no_input_ends_otherwise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    for content in (data, head(1, 1) + data):
        path.write_bytes(content)
        try:
            check_bounds(path)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - either outcome is fine, another exception is not
