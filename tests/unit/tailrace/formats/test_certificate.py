from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from tailrace.formats.canonical import canonical_json
from tailrace.formats.certificate import (
    Certificate,
    Finding,
    compare,
    contradictions,
    flatten,
    read_certificates,
)
from tailrace.formats.schema import to_mapping


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make(step: int, parameters: str = "p", **changes: Any) -> Certificate:
    base = Certificate(
        step=step,
        parameters=sha(f"{parameters}{step}"),
        optimizer=sha(f"o{step}"),
        rng=sha("r"),
        cursor=sha(f"c{step}"),
        identity={"train.seed": "1"},
        conditions={"device": "cpu", "packages.jax": "0.10.2"},
    )
    return dataclasses.replace(base, **changes)


def test_equal_at_every_common_step() -> None:
    comparison = compare([make(2), make(4), make(6)], [make(4), make(6), make(8)])
    assert (comparison.finding, comparison.steps, comparison.first_difference) == (
        Finding.EQUAL,
        [4, 6],
        None,
    )
    assert (comparison.parts, comparison.identity, comparison.conditions) == ([], [], [])


def test_the_first_difference_is_told() -> None:
    comparison = compare([make(2), make(4), make(6)], [make(2), make(4, "q"), make(6, "q")])
    assert (comparison.finding, comparison.first_difference) == (Finding.NOT_REPRODUCED, 4)
    assert comparison.parts == ["parameters"]


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"conditions": {"device": "cpu", "packages.jax": "0.11"}}, Finding.OTHER_CONDITIONS),
        ({"identity": {"train.seed": "2"}}, Finding.OTHER_TRAINING),
        ({"identity": {}, "conditions": {}}, Finding.OTHER_TRAINING),
        ({}, Finding.NOT_REPRODUCED),
    ],
)
def test_the_reason_of_a_difference(changes: dict[str, Any], finding: Finding) -> None:
    assert compare([make(2)], [make(2, "q", **changes)]).finding is finding


def test_differences_name_both_sides() -> None:
    other = make(2, "q", identity={"train.seed": "2", "x": "1"}, conditions={"device": "H100"})
    comparison = compare([make(2)], [other])
    assert comparison.identity == ["train.seed: 1 | 2", "x: - | 1"]
    assert comparison.conditions == ["device: cpu | H100", "packages.jax: 0.10.2 | -"]


def test_other_conditions_do_not_outweigh_equal_states() -> None:
    comparison = compare([make(2)], [make(2, conditions={"device": "gpu"})])
    assert comparison.finding is Finding.EQUAL
    assert comparison.conditions


@pytest.mark.parametrize("theirs", [[], [make(3)]])
def test_nothing_in_common(theirs: list[Certificate]) -> None:
    assert compare([make(2)], theirs).finding is Finding.NO_COMMON_STEP


def test_attempts_that_contradict_each_other() -> None:
    assert contradictions([make(2), make(2), make(4)]) == []
    assert contradictions([make(4), make(2), make(4, "q"), make(2)]) == [4]


def test_the_file_is_read_back_and_wrong_lines_are_named() -> None:
    lines = [canonical_json(to_mapping(make(step))) for step in (2, 4)]
    text = "\n".join(lines) + "\n"
    assert read_certificates(text, "c.jsonl") == [make(2), make(4)]
    with pytest.raises(ValueError, match=r"c\.jsonl:3 is not a certificate: .*parameters: is re"):
        read_certificates(text + '{"step": 1}\n', "c.jsonl")
    with pytest.raises(ValueError, match=r"c\.jsonl:1 is not a certificate"):
        read_certificates("nonsense", "c.jsonl")


def test_flat_settings() -> None:
    nested = {"b": {"y": [1, 2], "x": True}, "a": "text", "c": None}
    assert flatten(nested) == {"a": "text", "b.x": "true", "b.y": "[1, 2]", "c": "null"}
