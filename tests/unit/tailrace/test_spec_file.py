from __future__ import annotations

import time
from pathlib import Path

import pytest

from tailrace.spec_file import MAX_BYTES, SpecFileError, parse_yaml, read_file


def _problem(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(SpecFileError) as raised:
        read_file(path)
    assert raised.value.where == str(path)
    assert "\n" not in raised.value.problem
    return raised.value.problem


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("run.yaml", b"", "is empty: it needs keys such as model, dataset and train"),
        ("run.json", b" ", "is empty: it needs keys such as model, dataset and train"),
        ("run.yaml", b"# nothing\n", "is empty: it needs keys such as model, dataset and train"),
        ("run.yaml", b"- a\n- b", "holds a list, not keys such as model and train"),
        ("run.json", b"true", "holds true, not keys such as model and train"),
        ("run.yaml", b"ab\xff\xfe", "is not UTF-8 text (byte 3)"),
        ("run.yaml", b"a: \x00", "is not YAML: character 4 is a control character"),
        (
            "run.yaml",
            b"x: 1\na: [1",
            "is not YAML: expected ',' or ']', but got '<stream end>' (line 2, column 6)",
        ),
        ("run.yaml", b"a: 1\na: 2", "is not YAML: the key 'a' is there twice"),
        ("run.yaml", b"x: 1\n? [a, b]\n: 1", "is not YAML: a key must be text (line 2, column 3)"),
        (
            "run.yaml",
            b"!!python/object/apply:os.system [ls]",
            "is not YAML: the tag tag:yaml.org,2002:python/object/apply:os.system is not allowed, "
            "plain values are (line 1, column 1)",
        ),
        (
            "run.yaml",
            b"a: " + b"9" * 5000,
            "is not YAML: it holds a number with thousands of digits",
        ),
        ("run.json", b'{"a": ' + b"9" * 5000, "is not JSON: it holds a number with thousands of"),
        ("run.yaml", b"a: " + b"[" * 20_000, "is not YAML: it is nested too deeply"),
        ("run.json", b"[" * 100_000, "is not JSON: it is nested too deeply"),
        ("run.json", b'{"a": 1, "a": 2}', "is not JSON: the key 'a' is there twice"),
        ("run.json", b'{"a": 1,\n}', "is not JSON: "),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    assert _problem(tmp_path / name, content).startswith(problem)


def test_a_large_file_is_refused_soon(tmp_path: Path) -> None:
    labels = b"labels:\n" + b"".join(b"  k%d: v\n" % i for i in range(200_000))
    assert len(labels) > MAX_BYTES
    began = time.monotonic()
    assert "is larger than 1,048,576 bytes" in _problem(tmp_path / "run.yaml", labels)
    assert time.monotonic() - began < 1


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("a: 1", encoding="utf-8-sig")
    assert read_file(tmp_path / "run.yaml") == {"a": 1}


def test_yaml_merges_and_values() -> None:
    text = "base: &b {x: 1}\nuse: {<<: *b, y: 2}\n"
    assert parse_yaml(text) == {"base": {"x": 1}, "use": {"x": 1, "y": 2}}
    assert parse_yaml("") is None
