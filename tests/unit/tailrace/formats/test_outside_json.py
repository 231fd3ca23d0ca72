from __future__ import annotations

import json
import time

import pytest

from tailrace.formats.outside_json import MAX_DEPTH, is_deep, next_json, read_json, read_object


def test_a_document() -> None:
    assert read_object(b'{"a": [1, 2.5, null], "a": 1}') == {"a": 1}
    assert read_json(b'{"model_max_length": 1000000000000000019884624838656}')


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"{", r"is not JSON: .* \(line 1, column 2\)"),
        (b"\xff{}", "is not UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{}".encode("utf-16"), "is UTF-16 text"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": ' + b"9" * 100 + b"}", "100 digits"),
        (b'{"a": 0.' + b"9" * 1000 + b"}", "1002 characters"),
        (b"[" * 200_000, "is not JSON"),
    ],
)
def test_what_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_json(content)


def test_a_value_within_text() -> None:
    assert next_json('x {"a": [1]} y', 2) == ({"a": [1]}, 12)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", r"is not JSON: Expecting value \(character 0\)"),
        ("[" * 200_000, "nested too deeply"),
        ("9" * 100, "100 digits"),
        ("NaN", "NaN is not a JSON number"),
    ],
)
def test_a_text_that_begins_with_no_value_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        next_json(text, 0)


def test_an_object_is_wanted() -> None:
    with pytest.raises(ValueError, match="must hold a JSON object"):
        read_object(b"[]")


def test_depth() -> None:
    flat: object = 1
    for _ in range(MAX_DEPTH - 1):
        flat = {"a": [flat]} if isinstance(flat, int) else [flat]
    assert not is_deep([[1]])
    assert is_deep([[flat]])
    assert not is_deep(list(range(100_000)))


def test_huge_numbers_cost_no_time() -> None:
    numbers = json.dumps(["9" * 4000] * 800).replace('"', "").encode()
    start = time.perf_counter()
    with pytest.raises(ValueError, match="4000 digits"):
        read_json(numbers)
    assert time.perf_counter() - start < 1
