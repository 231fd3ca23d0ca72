from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.model.safetensors_header import (
    MAX_HEADER_BYTES,
    Entry,
    header_length,
    read_header,
)
from tailrace.formats.model.tensors import Tensor
from tests.growth import LINEAR, growth


def header(**tensors: Any) -> bytes:
    return json.dumps(tensors).encode()


def tensor(start: Any, end: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [1], "data_offsets": [start, end]}


def test_a_sound_file() -> None:
    made = header(__metadata__={"format": "pt"}, b=tensor(4, 8), a=tensor(0, 4))
    assert header_length(struct.pack("<Q", len(made)), 8 + len(made) + 8) == len(made)
    one = Tensor("F32", (1,))
    entries = {"a": Entry(one, 0, 4), "b": Entry(one, 4, 8)}
    assert read_header(made, 8 + len(made) + 8) == entries


@pytest.mark.parametrize("prefix", [b"\x05\0\0", b"\0" * 8, b"\xff" * 8, b"PK\x03\x04...."])
def test_other_files_do_not_begin_like_one(prefix: bytes) -> None:
    with pytest.raises(ValueError, match="not a safetensors file"):
        header_length(prefix, 1000)


def test_what_a_clone_has_in_place_of_a_file_is_named() -> None:
    with pytest.raises(ValueError, match="is empty"):
        header_length(b"", 0)
    with pytest.raises(ValueError, match="git lfs pull"):
        header_length(b"version https://git-lfs.github.com/spec/v1", 130)


def test_a_header_has_a_limit() -> None:
    with pytest.raises(ValueError, match="at most"):
        header_length(struct.pack("<Q", MAX_HEADER_BYTES + 1), 1 << 40)


@pytest.mark.parametrize(
    "made",
    [
        b"not json",
        b"[]",
        b"[" * 100_000,
        header(a=1),
        header(a={}),
        header(a=tensor(0, "4")),
        header(a=tensor(4, 0)),
        header(a=tensor(-1, 4)),
        header(a=tensor(0, 3)),
        header(a=tensor(0, True)),
        header(a={"data_offsets": [0, 4, 4]}),
        header(a={**tensor(0, 4), "shape": [2]}),
        header(a={**tensor(0, 4), "shape": [-1]}),
        header(a={**tensor(0, 4), "shape": None}),
        header(a={**tensor(0, 4), "dtype": "F31"}),
        header(a={**tensor(0, 4), "dtype": []}),
        header(a={**tensor(0, 4), "shape": [1] * 9}),
        header(a={**tensor(0, 4), "shape": [2**63]}),
        header(a=tensor(0, 4), b=tensor(0, 4)),
        header(a={**tensor(1, 5)}),
    ],
)
def test_unsound_headers_are_refused(made: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_header(made, 8 + len(made) + 4)


@given(st.binary(max_size=64), st.integers(0, 1 << 62))
def test_no_input_ends_otherwise(data: bytes, size: int) -> None:
    for check in (header_length, read_header):
        try:
            check(data, size)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - either outcome is fine, another exception is not


@pytest.mark.parametrize(
    ("shape", "offsets"), [([1] * 400_000, [0, 4]), (["x"], [0, 10**19]), ([10**4000], [0, 4])]
)
def test_numbers_and_dimensions_are_bounded(shape: list[Any], offsets: list[int]) -> None:
    made = header(a={"dtype": "F32", "shape": shape, "data_offsets": offsets})
    with pytest.raises(ValueError):
        read_header(made, 8 + len(made) + 4)


def test_a_header_of_huge_numbers_costs_no_more_than_its_length() -> None:
    def of(numbers: int) -> bytes:
        return header(a={"shape": [10**4000] * numbers, "data_offsets": [0, 4]})

    def read(made: bytes) -> None:
        with pytest.raises(ValueError, match=r"digits|not JSON"):
            read_header(made, 8 + len(made) + 4)

    assert growth(read, of(100), of(400)) < LINEAR
