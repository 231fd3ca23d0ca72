from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.data.thinking import (
    TAG,
    SplitText,
    opened_thinking,
    split_thinking,
    without_thinking,
)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer", "closed"),
    [
        ("Paris", "", "Paris", None),
        ("", "", "", None),
        ("<think>\nFrance.\n</think>\n\nParis", "France.", "\n\nParis", True),
        ("<think></think>Paris", "", "Paris", True),
        ("<think>France.", "France.", None, False),
        ("Hm.<think>a</think> b <think>c</think> d", "a\n\nc", "Hm. b  d", True),
        ("France.</think>Paris", "France.", "Paris", True),
        ("a<think>b</think>c</think>d", "abc", "d", True),
        ("<think>a </thought> b</think>c", "a </thought> b", "c", True),
        ("the <think> tag", "", "the <think> tag", None),
        ("analysisWe add.assistantfinal3", "We add.", "3", True),
        ("analysisWe add.", "We add.", None, False),
        (
            "<|channel|>analysis<|message|>We add.<|channel|>final<|message|>3",
            "We add.",
            "3",
            True,
        ),
    ],
)
def test_thinking_and_answer(
    text: str, reasoning: str, answer: str | None, closed: bool | None
) -> None:
    assert split_thinking(text) == SplitText(reasoning, answer, closed)
    assert without_thinking(text) == answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("France.\n</think>\nParis", SplitText("France.", "\nParis", True)),
        ("France: Paris", SplitText("France: Paris", None, False)),
        ("", SplitText("", None, False)),
        ("tag or not", SplitText("tag or not", None, False)),
        ("<think>again</think>Paris", SplitText("<think>again", "Paris", True)),
        ("a</think>b<think>c", SplitText("a\n\nc", None, False)),
    ],
)
def test_thinking_that_began_in_the_prompt(text: str, expected: SplitText) -> None:
    assert split_thinking(text, opening="<think>") == expected


def test_a_right_answer_that_mentions_tags_stays_whole() -> None:
    right = "Write <think>x</think>."
    split = split_thinking(f"<think>How?</think>{right}", [right])
    assert split == SplitText("How?", right, True)
    assert split_thinking(f"How?</think>{right}", [right], "<think>").answer == right


@pytest.mark.parametrize(
    ("prompt", "opening"),
    [
        ("<|im_start|>assistant\n<think>\n", "<think>"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
        ("user: <think>\nassistant:", ""),
        ("assistant: ◁think▷", "◁think▷"),
        ("", ""),
    ],
)
def test_the_tag_that_a_prompt_opens(prompt: str, opening: str) -> None:
    assert opened_thinking(prompt) == opening


PARTS = [
    "<think>",
    "</think>",
    "[THINK]",
    "[/THINK]",
    "◁/think▷",
    "a",
    "\n",
    "`",
    '"',
    " tag",
    "\0",
]


@given(
    st.lists(st.sampled_from(PARTS)).map("".join) | st.text(),
    st.sampled_from(["", "<think>", "[THINK]"]),
    st.lists(st.sampled_from([*PARTS, "<think>a</think>"]), max_size=3),
)
def test_any_text_is_split(text: str, opening: str, verbatim: list[str]) -> None:
    split = split_thinking(text, verbatim, opening)
    assert (split.answer is None) is (split.closed is False)
    assert len(split.reasoning) + len(split.answer or "") <= 2 * len(text)
    if split.closed is None:
        assert not opening
        assert not split.reasoning
        assert verbatim or split.answer == text
    if not opening and not TAG.search(text) and not text.lstrip().startswith(("ana", "comm")):
        assert split.closed is None


def test_splitting_takes_linear_time() -> None:
    text = "<think>a</think>b" * 20_000 + "</think>" * 60_000
    start = time.process_time()
    assert split_thinking(text).answer == ""
    # Quadratic time would be minutes.
    assert time.process_time() - start < 10
