"""The judges of plain text that need no model: contains, regex, json_schema, overlap, reasoning."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.training.judges.candidates import judge_of, judge_one, refused
from training.errors import ConfigError
from training.judges import json_schema
from training.judges.answers import bounded_regex
from training.judges.answers.json_text import find_json


@pytest.mark.parametrize(
    ("options", "text", "passed", "score"),
    [
        ({}, "I say FIVE", True, 1),
        ({}, "I say six", False, 0),
        ({"values": ["a b", "c"]}, "A\u00a0b", True, 1),
        ({"values": ["a b", "c"], "all": True}, "a  b", False, 0.5),
        ({"values": ["a b", "c"], "all": True}, "c, a b", True, 1),
        ({"values": ["a b"], "ignore_case": False}, "A B", False, 0),
    ],
)
def test_contains(options: dict[str, Any], text: str, passed: bool, score: float) -> None:
    verdict = judge_one(
        judge_of({"name": "contains", "contains": options}), text, expected_answer="five"
    )
    assert (verdict.passed, verdict.score) == (passed, score)


def test_regex() -> None:
    judge = judge_of({"name": "regex", "regex": {"pattern": r"\d+ cm"}})
    verdict = judge_one(judge, "about 12 cm wide")
    assert (verdict.passed, verdict.extracted) == (True, "12 cm")
    assert not judge_one(judge, "12 km").passed
    full_match = judge_of({"name": "regex", "regex": {"pattern": r"\d+ cm", "full_match": True}})
    assert not judge_one(full_match, "about 12 cm wide").passed
    assert judge_one(judge_of({"name": "regex"}), "x55", expected_answer="5{2}").passed
    assert "not a pattern" in refused(judge_of({"name": "regex"}), "x", expected_answer="(")
    with pytest.raises(ConfigError, match="is not valid"):
        judge_of({"name": "regex", "regex": {"pattern": "("}})


HOSTILE = ["(a|aa)+$", "a{1000000000}", "(?:(?:a{1000}){1000}){1000}", "(?:ab){100000000}"]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_a_hostile_pattern_is_an_error(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = judge_of({"name": "regex"})
    with monkeypatch.context() as impatient:
        impatient.setattr(bounded_regex.PROCESS, "seconds", 0.3)
        assert "takes longer than 0.3 s" in refused(judge, "a" * 60 + "b", expected_answer=pattern)
    assert judge_one(judge, "x55", expected_answer="5{2}").passed


def test_a_pattern_that_cannot_be_compiled_fails_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_regex.PROCESS, "seconds", 0.3)
    with pytest.raises(ConfigError, match=r"takes longer than 0\.3 s"):
        judge_of({"name": "regex", "regex": {"pattern": "a{1000000000}"}})


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}},
    "patternProperties": {"^x-": {"type": "integer"}},
    "additionalProperties": False,
    "required": ["city"],
}


DOUBLING = {
    "$ref": "#/$defs/0",
    "$defs": {
        **{str(i): {"oneOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(40)},
        "40": {"type": "string"},
    },
}
"""Schema that visits its last definition 2^40 times."""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"city": "Rome", "x-a": 1}', "valid"),
        ('Here it is:\n```json\n{"city": "Rome"}\n```\nDone.', "valid"),
        ('{"city": "rome"}', "does not match"),
        ('{"city": "Rome", "x-a": "1"}', "is not of type 'integer'"),
        ('{"city": "Rome", "more": 1}', "not among the properties"),
        ("{}", "'city' is a required property"),
        ('{"city": NaN}', "not JSON"),
        ('{"city": "A", "city": "B"}', "not JSON"),
        ("Rome", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_json_schema(text: str, reason: str) -> None:
    verdict = judge_one(judge_of({"name": "json_schema", "json_schema": {"schema": SCHEMA}}), text)
    assert reason in verdict.reason
    assert verdict.passed is (reason == "valid")


def test_schemas_that_cannot_be_used() -> None:
    with pytest.raises(ConfigError, match="not a JSON Schema"):
        judge_of({"name": "json_schema", "json_schema": {"schema": {"type": "text"}}})
    # Nothing is fetched, since nothing listens at the address.
    far = {"$ref": "http://127.0.0.1:9/schema.json"}
    judge = judge_of({"name": "json_schema", "json_schema": {"schema": far}})
    assert "outside of itself" in refused(judge, "1")


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (DOUBLING, "1"),
        ({"uniqueItems": True}, json.dumps([{"a": [i, {}]} for i in range(20_000)])),
        ({"pattern": "(a|aa)+$"}, json.dumps("a" * 60 + "b")),
        ({"patternProperties": {"a{1000000000}": {}}}, '{"a": 1}'),
    ],
)
def test_a_hostile_schema_is_an_error(
    schema: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = judge_of({"name": "json_schema", "json_schema": {"schema": schema}})
    monkeypatch.setattr(json_schema.PROCESS, "seconds", 0.3)
    assert "validating takes longer than 0.3 s" in refused(judge, text)
    monkeypatch.setattr(json_schema.PROCESS, "seconds", 5.0)
    simple = judge_of({"name": "json_schema", "json_schema": {"schema": {"type": "integer"}}})
    assert judge_one(simple, "1").passed


def test_several_fenced_blocks_are_no_json() -> None:
    assert find_json("```\n1\n```\n```\n2\n```") is None
    assert find_json("```json\n1\n```\n```json\n2\n```") is None
    assert find_json("```python\n1\n```") is None


@pytest.mark.parametrize(
    "text",
    [
        '```json\r\n{"a": 1}\r\n```',
        '```json {"a": 1} ```',
        '```{"a": 1}```',
        '```Json\n{"a": 1}\n```',
        '```json5\n{"a": 1}\n```',
        '```jsonc\n{"a": 1}\n```',
        '~~~json\n{"a": 1}\n~~~',
        '````json\n{"a": 1}\n````',
        '\ufeff{"a": 1}',
        '```json\n\ufeff{"a": 1}\n```',
        'Run this:\n```python\nprint(1)\n```\nIt gives\n```json\n{"a": 1}\n```\nDone.',
        '```json\n{"a": 1}\n```\n```\nplain\n```',
        'Here it is: ```json\n{"a": 1}\n```',
    ],
)
def test_fences_of_json(text: str) -> None:
    document = find_json(text)
    assert document is not None
    assert document.value == {"a": 1}


OPTIONS: dict[str, Any] = {
    "contains": {"contains": {"values": ["5"]}},
    "regex": {"regex": {"pattern": "^5$"}},
    "json_schema": {"json_schema": {"schema": {"const": 5}}},
}


@pytest.mark.parametrize("name", [*OPTIONS, "answer_correctness", "token_f1", "rouge_l"])
def test_thinking_is_not_the_answer(name: str) -> None:
    judge = judge_of({"name": name, **OPTIONS.get(name, {})})
    for thinking in ("<think>6</think>", "6</think>", "<thinking>6</thinking>", "◁think▷6◁/think▷"):
        assert judge_one(judge, f"{thinking}5").passed
    for text in ("<think>5", "<think>6</think><think>5", "◁think▷5", "<think>5</think>6"):
        verdict = judge_one(judge, text)
        assert (verdict.passed, verdict.score) == (False, 0), text


def test_reasoning_is_judged_with_the_thinking() -> None:
    text = "<think>\n2 + 3 = 5\n</think>\nAnswer: 5"
    assert judge_one(judge_of({"name": "reasoning_quality"}), text).evidence == "3 steps"


@pytest.mark.parametrize(
    ("name", "text", "score"),
    [
        ("token_f1", "the cat sat", 1),
        ("token_f1", "Answer: sat the cat", 1),
        ("token_f1", "the dog sat down", 2 * 2 / (3 + 4)),
        ("token_f1", "", 0),
        ("rouge_l", "the cat sat", 1),
        ("rouge_l", "sat the cat", 2 / 3),
        ("rouge_l", "nothing", 0),
    ],
)
def test_overlap(name: str, text: str, score: float) -> None:
    verdict = judge_one(judge_of({"name": name}), text, expected_answer="The cat sat")
    assert verdict.score == pytest.approx(score)
    assert verdict.passed is (score >= 0.5)


def test_overlap_reads_every_script_and_takes_the_best_answer() -> None:
    judge = judge_of({"name": "token_f1", "token_f1": {"threshold": 1}})
    assert judge_one(judge, "Москва", expected_answer="москва").passed
    assert judge_one(judge, "b", expected_answer="a", accepted_answers=["b"]).passed


@pytest.mark.parametrize(
    ("text", "passed", "reason"),
    [
        ("Calculating 82 + 15 = 97\nAnswer: 97", True, "hold together"),
        ("10 / 3 = 3.33\nAnswer: 3.33", True, "hold together"),
        ("1 + 2 + 3 = 6\nAnswer: 6", True, "hold together"),
        ("4 + 6 = 20 / 2 = 10\nAnswer: 10", True, "hold together"),
        ("82 + 15 = 98\nAnswer: 98", False, "says that 82 + 15 = 98"),
        ("8 / 0 = 8\nAnswer: 8", False, "says that 8 / 0 = 8"),
        ("I know it\nAnswer: 97", False, "does not lead to its answer"),
        ("1 + 1 = 2\n1 + 1 = 2\nAnswer: 2", False, "repeats a step"),
        ("Answer: 97", False, "has no steps"),
        ("It is 97", False, "marks no answer"),
        ("", False, "has no steps"),
    ],
)
def test_reasoning_quality(text: str, passed: bool, reason: str) -> None:
    verdict = judge_one(judge_of({"name": "reasoning_quality"}), text)
    assert verdict.passed is passed
    assert reason in verdict.reason
    assert (verdict.score == 1) is passed
