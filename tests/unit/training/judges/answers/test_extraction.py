from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.growth import LINEAR, growth
from training.judges.answers.extraction import (
    ExtractedAnswer,
    ExtractionRules,
    find_answers,
    marked_answers,
)
from training.judges.answers.normalization import clean


def answers_in(text: str, prompt: str = "", *, whole_lines: bool = True) -> list[ExtractedAnswer]:
    return find_answers(text, ExtractionRules(prompt, whole_lines=whole_lines))


def written(answers: list[ExtractedAnswer]) -> list[str]:
    return [answer.text for answer in answers]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Answer: 42", ["42"]),
        ("steps\nAnswer: 42\n", ["42"]),
        ("**Answer:** 42", ["42"]),
        ("> Final answer: forty two", ["forty two"]),
        ("ANSWER : 42", ["42"]),
        ("Answer:\n\n  42\nmore", ["42"]),
        ("Answer:", [""]),
        ("so \\boxed{\\frac{1}{2}} it is", ["\\frac{1}{2}"]),
        ("\\boxed{never closed", []),
        ("work\n#### 72", ["72"]),
        ("#### Answer: 5", ["5"]),
        ("Answer:\n#### 5", ["5"]),
        ("### Heading 3", []),
        ("The answer is 3.14. Since", ["3.14"]),
        ("I think the final answer is: blue!", ["blue"]),
        ("Answer: \\boxed{5}", ["5"]),
        ("Answer: the answer is 5.", ["5"]),
        ("Answer: 1\nAnswer: 2", ["1", "2"]),
        ("My Answer: 3 is not at the start of a line", ["3 is not at the start of a line"]),
        ("no marker here", []),
        ("I don't think the answer is 5.", ["I don't think the answer is 5"]),
        ("If the answer is 5, we check it. The answer is 6.", ["6"]),
        ("The answer is 5?", ["5?"]),
        ("", []),
    ],
)
def test_markers(text: str, expected: list[str]) -> None:
    assert written(marked_answers(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Answer: 5\nWait, no. Answer: 6", ["6"]),
        ("Answer: 5\nMy final answer: 6", ["5", "6"]),
        ("Answer: 5\nMy final answer:\n6", ["5", "6"]),
        ("Answer: 5\nThe answer: 6", ["5", "6"]),
        ("Answer: 5\nCorrected answer: 6", ["6"]),
        ("Answer: 5\nAnswer = 6", ["5", "6"]),
        ("Answer: 5\nThe answer would be 6", ["5", "6"]),
        ("Answer: 5\nThe correct final answer is 6", ["5", "6"]),
        ("Answer: 5. My final answer: 6", ["5", "6"]),
        ("Answer: 5, so the answer is 6.", ["5", "6"]),
        ("Answer: 5. So, the answer is 6.", ["5", "6"]),
        ("Answer: So, the answer is 6.", ["6"]),
        ("Answer: my final answer is 6", ["6"]),
        ("My answer: 6\nAnswer: 5", ["5"]),
        ("Answer: 5\nIf the answer was 6, it would be even.", ["5"]),
        ("Answer: 5\nThis answer is correct since 2 + 3 = 5.", ["5"]),
        ("Answer: 5\nMy answer is in metres.", ["5"]),
        ("Answer: 5\nMy answer is in fact 6.", ["5", "in fact 6"]),
        ("Answer: 5\nI do not think my answer is 5.", ["5", "I do not think my answer is 5"]),
    ],
)
def test_what_follows_an_answer_may_mark_a_further_one(text: str, expected: list[str]) -> None:
    assert written(marked_answers(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is 5. No, wait, it is 6.", ["5", "No, wait, it is 6."]),
        ("\\boxed{5}, no, it is 6", ["5", "no, it is 6"]),
        ("#### 5\nHmm, actually I get 6\nmore", ["5", "Hmm, actually I get 6"]),
        ("Answer: 5\n**Correction:** 6", ["5", "Correction:** 6"]),
        ("The answer is yes. No.", ["yes", "No."]),
        ("The answer is no. No, it is not.", ["no"]),
        ("The answer is no. No, wait, yes.", ["no", "No, wait, yes."]),
        ("Answer: 5\nIs it even? No.", ["5"]),
        ("The answer is 5. Wait for more.", ["5"]),
        ("The answer is 5. Wait, let me check. The answer is 5.", ["5", "5"]),
        ("Wait, no. The answer is 5.", ["5"]),
    ],
)
def test_corrections_behind_the_last_answer(text: str, expected: list[str]) -> None:
    assert written(marked_answers(text)) == expected


def test_prose_of_several_lines_may_speak_of_answers() -> None:
    text = "Answer: one\nNo, my answer is two"
    assert written(marked_answers(text, whole_lines=False)) == ["one\nNo, my answer is two"]


def test_answers_of_several_lines() -> None:
    text = "think\nAnswer: one\ntwo\n\\boxed{three}"
    assert written(marked_answers(text)) == ["one", "three"]
    assert written(marked_answers("think\nAnswer: one\ntwo", whole_lines=False)) == ["one\ntwo"]


@given(st.text(max_size=60).filter(str.strip))
def test_what_the_marker_marks_is_found(answer: str) -> None:
    plain = "".join(answer.split())
    if clean(plain) == plain and not plain.startswith((":", "#", "$$", "```", "~~~", "\\")):
        assert written(marked_answers(f"step\nAnswer: {plain}")) == [plain]


@pytest.mark.parametrize(
    "text",
    [
        "Answer:" * 20_000,
        "\\boxed{" * 20_000,
        "the answer is " * 5_000,
        "#### \n" * 20_000,
        "Answer: 5. no, " * 20_000,
    ],
)
def test_hostile_text_is_read_in_time(text: str) -> None:
    start = time.thread_time()
    marked_answers(text)
    marked_answers(text, whole_lines=False)
    assert time.thread_time() - start < 10


PIECES = (
    *(
        "Answer: 42\n",
        "the answer is ",
        "\\boxed{",
        "#### \n",
        "Answer: \\[",
        "Answer: \\begin{align}",
    ),
    *(
        "Answer: ```\n",
        "- Answer:\n",
        '"answer": {',
        "x is the answer. ",
        "wait, no, ",
        " ",
        "\n",
        "* ",
    ),
    *("correct option ", "答案", "<p>", "<think>", "Answer of ", "\u200b"),
)


@pytest.mark.parametrize("piece", PIECES)
def test_reading_takes_time_in_proportion_to_the_text(piece: str) -> None:
    def read(text: str) -> None:
        answers_in(text)
        answers_in(text, whole_lines=False)

    small, large = (piece * (length // len(piece)) for length in (2_000, 8_000))
    assert growth(read, small, large) < LINEAR


def test_where_an_answer_was_found() -> None:
    text = "Answer: 1\n#### 2\n\\boxed{3} and the answer is 4."
    assert [answer.evidence for answer in answers_in(text)] == [
        "line Answer:",
        "line ####",
        "\\boxed",
        "the answer is",
    ]
    assert answers_in(" 42 ") == [ExtractedAnswer("42", "the whole text", marked=False)]


def test_what_is_repeated_of_the_prompt_marks_nothing() -> None:
    prompt = "Is it so?\nAnswer: yes or no"
    assert written(answers_in(f"{prompt}\nAnswer: no", prompt)) == ["no"]
    assert answers_in(prompt, prompt) == [ExtractedAnswer(prompt, "the whole text", marked=False)]
    assert written(answers_in("What?\nAnswer: 4", "What?\nAnswer:")) == ["4"]
