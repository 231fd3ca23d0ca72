"""Repeating the training data word for word is right, for every trace that an import accepts."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tailrace.formats.data.dataset_file import parse_dataset
from tailrace.formats.data.jsonl import FormatError
from tailrace.formats.data.split import eval_items
from tests.unit.training.judges.candidates import judge_of, prediction
from training.data.rendering import render_response
from training.evalsets import items_for_traces
from training.judges import Candidate, TextVerdict

JUDGE = judge_of({"name": "answer_correctness"})
PIECES = st.sampled_from(
    [
        *(
            "Answer:",
            "Answer: 41",
            "#### 41",
            "####",
            "\\boxed{41}",
            "The answer is 41.",
            "42",
            "5!",
        ),
        *("\n", " ", "```", "```python\n", "~~~", "$$", "\\[", "\\]", "**", "__init__", "<b>", "x"),
        *("<think>", "</think>", "◁think▷", "◁/think▷", "wait, no", "EDIT: 41", "{", "}", "[", '"'),
        *(
            "答案：41",
            "\u200b",
            "\u2028",
            "\ufeff",
            "’",
            "\u00a0",
            "1. red\n2. green",
            '"answer": 41',
        ),
        *("final answer", "is the answer", "It's 41.", "<answer>41</answer>", "No, ", "yes", "?"),
    ]
)
TEXT = st.one_of(st.lists(PIECES, min_size=1, max_size=6).map("".join), st.text(min_size=1))


def verdict_on(prompt: str, steps: list[str], answer: str) -> TextVerdict | None:
    """Return the verdict on a trace's own response; None if an import refuses the trace."""
    content = [{"i": i, "type": "t", "content": step} for i, step in enumerate(steps)]
    line = json.dumps({"prompt": prompt, "answer": answer, "steps": content})
    try:
        traces = parse_dataset([line.encode()])
    except FormatError:
        return None
    (item,) = items_for_traces(eval_items(traces), traces)
    response = prediction(render_response(traces[0]))
    (verdict,) = JUDGE.judge_all([Candidate(item, response)])
    assert isinstance(verdict, TextVerdict), verdict
    return verdict


@settings(deadline=None, max_examples=300)
@given(TEXT, st.lists(TEXT, min_size=1, max_size=3), TEXT)
@example("What?", ["Answer: 41", "Wait, I forgot one."], "42")
@example("What?", ["#### Step", "The answer is 41."], "42")
@example("What?", ["add"], "```python\nprint(1)\n```")
@example("What?", ["add"], "Answer: 41, no, 42")
@example("What?", ["<think>", "41?", "</think>"], "42")
@example("Answer: 4", ["Answer: 4"], "4")
def test_word_for_word_is_right(prompt: str, steps: list[str], answer: str) -> None:
    verdict = verdict_on(prompt, steps, answer)
    assert verdict is None or verdict.passed, verdict


def test_steps_that_never_end_their_thinking_are_refused_with_the_line() -> None:
    step = {"i": 0, "type": "t", "content": "<think>41?"}
    line = json.dumps({"prompt": "p", "answer": "42", "steps": [step]})
    with pytest.raises(FormatError, match="line 1: steps: never end their thinking"):
        parse_dataset([line.encode()])


def test_only_what_marks_another_answer_on_the_way_is_judged_by_its_last_marker() -> None:
    for step, last in (("Answer: 41", True), ("The answer is 42.", False), ("15 + 27 = 42", False)):
        content = [{"i": 0, "type": "t", "content": step}]
        line = json.dumps({"prompt": "p", "answer": "42", "steps": content})
        traces = parse_dataset([line.encode()])
        (item,) = items_for_traces(eval_items(traces), traces)
        assert item.last_marker is last, step
