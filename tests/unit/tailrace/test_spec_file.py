from __future__ import annotations

import itertools
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
        ("run.yaml", b"a: 1\na: 2", "is not YAML: the key 'a' occurs twice (line 2, column 1)"),
        ("run.yaml", b"1: a\n'1': b", "is not YAML: the key '1' occurs twice (line 2, column 1)"),
        ("run.yaml", b"a: &x [1, *x]", "is not YAML: an alias contains itself"),
        ("run.yaml", b"a: &x {<<: *x}", "is not YAML: an alias contains itself"),
        ("run.yaml", b"a: !!binary aGk=", "is not YAML: the tag tag:yaml.org,2002:binary is not"),
        ("run.yaml", b"a: !!set {b}", "is not YAML: the tag tag:yaml.org,2002:set is not allowed"),
        (
            "run.yaml",
            b"seed: 010",
            "is not YAML: 010 may be octal or decimal: write 10, 0o10 or '010' (line 1, column 7)",
        ),
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
        ("run.json", b'{"a": 1, "a": 2}', "is not JSON: the key 'a' occurs twice"),
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


def test_very_many_values_are_refused_soon(tmp_path: Path) -> None:
    began = time.monotonic()
    problem = _problem(tmp_path / "run.yaml", b"a: [" + b"1," * 500_000 + b"]")
    assert problem == "is not YAML: it has more than 100,000 values"
    assert time.monotonic() - began < 20


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("a: 1", encoding="utf-8-sig")
    assert read_file(tmp_path / "run.yaml") == {"a": 1}


@pytest.mark.parametrize("template", ["*{}", "{{<<: *{}}}"], ids=["aliases", "merges"])
def test_aliases_and_merges_do_not_multiply(tmp_path: Path, template: str) -> None:
    names = "abcdefghijkl"
    lines = ["a: &a {k1: 1, k2: 2, k3: 3}"]
    lines += [
        f"{here}: &{here} [{', '.join([template.format(before)] * 9)}]"
        for before, here in itertools.pairwise(names)
    ]
    began = time.monotonic()
    problem = _problem(tmp_path / "run.yaml", "\n".join(lines).encode())
    assert "with its aliases written out it has more than 100,000 values" in problem
    merges = ["a0: &a0 {k: 1}"]
    merges += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 40)]
    assert "100,000 values" in _problem(tmp_path / "run.yaml", "\n".join(merges).encode())
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-17", -17),
        ("1_000", 1000),
        ("0o17", 15),
        ("0x1F", 31),
        ("1e-4", 1e-4),
        ("2E5", 2e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("1:30.5", "1:30.5"),
        ("0b11", "0b11"),
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("OFF", "OFF"),
        ("true", True),
        ("False", False),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("~", None),
        ("null", None),
        ("", None),
        ("=", "="),
        ("1.2.3", "1.2.3"),
        ("0.1.0", "0.1.0"),
        ("'010'", "010"),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
    ],
)
def test_values_are_what_they_look_like(text: str, value: object) -> None:
    assert parse_yaml(f"a: {text}") == {"a": value}
    assert type(parse_yaml(f"a: {text}")["a"]) is type(value)


@pytest.mark.parametrize("text", ["010", "-08", "00", "0_1", "007"])
def test_numbers_of_two_meanings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"octal or decimal.*\(line 1, column 4\)"):
        parse_yaml(f"a: {text}")


def test_keys_are_text() -> None:
    assert parse_yaml("{1: a, on: b, null: c, 010: d}") == {
        "1": "a",
        "on": "b",
        "null": "c",
        "010": "d",
    }


def test_yaml_merges_and_values() -> None:
    text = "base: &b {x: 1}\nuse: {<<: *b, y: 2}\n"
    assert parse_yaml(text) == {"base": {"x": 1}, "use": {"x": 1, "y": 2}}
    text = "a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, y: 3}\nd: {<<: [*c1, *b]}\n"
    text = text.replace("c: {", "c: &c1 {")
    assert parse_yaml(text)["c"] == {"x": 2, "y": 3}
    assert parse_yaml(text)["d"] == {"x": 2, "y": 3}
    assert parse_yaml("") is None
