"""A judge that gives the same text another verdict must have another version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tailrace.formats.data.message import ToolCall, ToolFunction
from tailrace.formats.spec.judge_spec import BUILT_IN, JUDGES
from tests.unit.training.judges.candidates import candidate, judge_of
from training.judges import Candidate, JudgeError, TextVerdict
from training.judges.backends.replies import Reply

PINNED: dict[str, tuple[str, str]] = {
    "answer_correctness": ("4", "65bc5a052c1901f3"),
    "math_equivalence": ("3", "bb378d5bf5ab16dc"),
    "contains": ("2", "4cf62461d634ac62"),
    "regex": ("2", "1df5b842786f7332"),
    "json_schema": ("2", "5109b93e40a2bbc5"),
    "token_f1": ("2", "d021c8eed7d0df32"),
    "rouge_l": ("2", "dd669ea4e28e8756"),
    "tool_call": ("1", "fee1840b9591406c"),
    "reasoning_quality": ("1", "1b8f23c72090122e"),
    "llm_rubric": ("2", "003a5e2461095b1a"),
    "pairwise": ("2", "4ce9bb1522e6151e"),
}
"""Versions of the built-in judges, with digests of their verdicts on the corpus."""

TEXTS: list[tuple[str, str, dict[str, Any]]] = [
    ("5", "Answer: 5", {}),
    ("5", "5", {}),
    ("5", "I get 5", {}),
    ("5", "", {}),
    ("5", "Answer: five", {}),
    ("5", "2 + 3 = 5\nAnswer: 5.0", {}),
    ("5", "2 + 3 = 6\nAnswer: 6", {}),
    ("5", "Answer: 5\nMy final answer: 6", {}),
    ("5", "Answer: 5\nSo the answer would be 5.", {}),
    ("5", "The answer is 5. No, wait, it is 6.", {}),
    ("5", "Answer: 5 or 5", {}),
    ("5", r"\boxed{\frac{10}{2}}", {}),
    ("5", r"\boxed{5^\circ}", {}),
    ("5", "Answer: 5.3", {"tolerance": 0.3}),
    ("5", "Answer: 500 cm", {"unit": "m"}),
    ("5", "Answer: 5", {"unit": "m", "unit_required": True}),
    ("8", "Answer: 2^3", {}),
    ("1/3", "Answer: 0.3333333", {}),
    ("0.0000001", "Answer: 0.0000002", {}),
    (r"2\sqrt{3}", r"\boxed{\sqrt{12}}", {}),
    ("(x+1)^2", "Answer: x^2 + 2x + 1", {}),
    ("2, 3", "Answer: 3 and 2", {}),
    ("2, 3", "Answer: 3 and 2", {"ordered": True}),
    ("2024-03-05", "Answer: March 5, 2024", {}),
    ("blue", "Answer: (b)", {"choices": ["red", "blue"]}),
    ("the cat sat", "Answer: sat the cat", {}),
    ("The cat sat", "the dog sat down", {}),
    (r"\d{2}", "about 12", {}),
    ("Five Cats", "I see five\u00a0cats", {}),
    ("5", '```json\n{"a": 5}\n```', {}),
    ("5", '{"a": "5"}', {}),
    ("5", "<think>Answer: 6</think>Answer: 5", {}),
    ("5", "<think>Answer: 5", {}),
    ("5!", "Answer: 5", {}),
    ("5", "The answer is 5, which is the sum.", {}),
    ("5", "Answer\uff1a\u200e5", {}),
    ("5", "Answer:\n\\[\n\\boxed{5}\n\\]", {}),
    ("5", "Answer: 5\nEDIT: 6", {}),
    ("2 + 3 = 5\n#### 5", "Answer: 5", {}),
    ("5", '```Json\r\n{"a": 5}\r\n```', {}),
    ("5", "Antwort: 5", {}),
    ("5", "The sum is 5", {"markers": ["The sum is"]}),
    ("5", "Answer: 6\nAnswer: 5", {"last_marker": True}),
]
TOOL_CALLS: list[tuple[list[dict[str, Any]], str]] = [
    ([{"a": 5}], '<tool_call>{"name": "f", "arguments": {"a": 5.0, "b": 1}}</tool_call>'),
    ([{"a": 5}], '<tool_call>{"name": "f", "arguments": {"a": "5"}}</tool_call>'),
    ([{"a": 5}], '{"name": "f", "parameters": {"a": 5}}'),
    ([{"a": 5}, {"a": 6}], '[TOOL_CALLS][{"name": "f", "arguments": {"a": 6}}]'),
    ([], '<tool_call>{"name": "f", "arguments": {}}</tool_call>'),
    ([{"a": 5}], '<tool_call>{"name": "f"'),
]
"""Expected arguments and text, for judges of calls of a tool."""
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"properties": {"b": {"default": 1}}}},
}
BACKEND = {"endpoint": {"url": "http://127.0.0.1:9", "model": "m"}}
OPTIONS: dict[str, dict[str, Any]] = {
    "json_schema": {
        "schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    },
    "llm_rubric": {"rubric": "r", "backend": BACKEND},
    "pairwise": {"criteria": "c", "backend": BACKEND},
}
REPLIES = {
    "llm_rubric": ['{"score": 7, "reason": "r"}', '{"score": 2, "reason": "r"}', "seven"],
    "pairwise": [
        '{"winner": "A", "reason": "r"}',
        '{"winner": "B", "reason": "r"}',
        '{"winner": "tie", "reason": "r"}',
        "neither",
    ],
}


class Scripted:
    """A judging model that gives the replies in turn and records its prompts."""

    def __init__(self, replies: Sequence[str]) -> None:
        self.replies = replies
        self.prompts: list[str] = []

    def ask(self, prompts: Sequence[str]) -> Iterator[Reply | JudgeError]:
        self.prompts += prompts
        for i in range(len(prompts)):
            yield Reply(self.replies[i % len(self.replies)], 1)


def _without_reason(outcome: TextVerdict | JudgeError) -> list[Any]:
    """Return a verdict without its reason, whose wording may change."""
    if isinstance(outcome, JudgeError):
        return ["error"]
    answer = [outcome.extracted, outcome.vote, outcome.flexible, outcome.marked, outcome.evidence]
    return [outcome.passed, round(outcome.score, 9), *answer, outcome.cost_tokens]


def digest_of(name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the digest of a judge's verdicts on the corpus and of its prompts for a model."""
    model = Scripted(REPLIES.get(name, []))
    if name in REPLIES:
        monkeypatch.setattr(f"training.judges.{name}.open_judging_model", lambda *_: model)
    judge = judge_of({"name": name} | ({name: OPTIONS[name]} if name in OPTIONS else {}))
    candidates = [candidate(t, "other", expected_answer=e, **item) for e, t, item in TEXTS]
    if BUILT_IN[name].needs_tools:
        candidates += [_with_calls(expected, text) for expected, text in TOOL_CALLS]
    verdicts = [_without_reason(outcome) for outcome in judge.judge_all(candidates)]
    assert len(verdicts) == len(candidates)
    text = json.dumps([verdicts, model.prompts], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _with_calls(expected: list[dict[str, Any]], text: str) -> Candidate:
    calls = [ToolCall(ToolFunction("f", arguments)) for arguments in expected]
    return candidate(text, tools=[TOOL], expected_tool_calls=calls)


@pytest.mark.parametrize("name", JUDGES)
def test_behaviour_moves_with_the_version_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    current = (JUDGES[name], digest_of(name, monkeypatch))
    assert name in PINNED, f"{name} is new: pin {current}"
    assert current == PINNED[name], (
        f"{name} judges the corpus in another way, or has a new version: bump the version in "
        f"tailrace/formats/spec/judge_spec.py, unless that is done, and pin {current}"
    )


def test_the_digest_sees_a_judge_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.judges.contains.ContainsJudge._plain", lambda _, text: text)
    assert digest_of("contains", monkeypatch) != PINNED["contains"][1]
