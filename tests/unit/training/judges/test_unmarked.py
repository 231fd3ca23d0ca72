"""Items whose whole answer is compared, and items without an expected answer."""

from __future__ import annotations

import pytest

from tailrace.formats.data.message import Message, Role
from tests.unit.training.judges.candidates import candidate, judge_of, judge_one, refused
from training.judges.llm_rubric import prompt_for

CORRECTNESS = judge_of({"name": "answer_correctness"})


@pytest.mark.parametrize(
    ("expected", "text", "passed"),
    [
        ("Paris", "Paris", True),
        ("Paris", " paris. ", True),
        ("Paris", "Answer: Paris", False),
        ("Answer: Paris", "Answer: Paris", True),
        ("Answer: Paris", "Paris", False),
        ("It is 4.\n#### 4", "It is 4.\n#### 4", True),
        ("It is 4.\n#### 4", "4", False),
        ("4", "Answer: 5\nAnswer: 4", False),
        ("<b>x</b>", "<b>x</b>", True),
        ("<answer>4</answer>", "<answer>4</answer>", True),
        ("<answer>4</answer>", "4", False),
        ("Paris", "", False),
    ],
)
def test_the_whole_answer_is_compared(expected: str, text: str, passed: bool) -> None:
    verdict = judge_one(CORRECTNESS, text, expected_answer=expected, marked=False)
    assert verdict.passed is passed, verdict.reason
    assert (verdict.marked, verdict.flexible) == (None, None)
    assert "mark" not in verdict.reason


def test_markers_of_a_judge_are_read_in_any_item() -> None:
    judge = judge_of({"name": "answer_correctness", "markers": ["The sum is"]})
    assert judge_one(judge, "The sum is 5", marked=False).passed
    assert not judge_one(CORRECTNESS, "The sum is 5", marked=False).passed


@pytest.mark.parametrize(
    ("name", "expected", "text"),
    [
        ("math_equivalence", r"\frac{1}{2}", "0.5"),
        ("token_f1", "Answer: a b", "Answer: a b"),
        ("rouge_l", "Answer: a b", "Answer: a b"),
        ("contains", "#### 4", "so #### 4"),
    ],
)
def test_other_judges_compare_it_as_well(name: str, expected: str, text: str) -> None:
    judge = judge_of({"name": name})
    verdict = judge_one(judge, text, expected_answer=expected, marked=False)
    assert (verdict.passed, verdict.score) == (True, 1.0)
    wrong = judge_one(judge, "4 Answer: 0.5", expected_answer=expected, marked=False)
    assert not (wrong.passed and wrong.score == 1)


@pytest.mark.parametrize(
    "name",
    ["answer_correctness", "math_equivalence", "contains", "regex", "token_f1", "rouge_l"],
)
def test_an_item_without_expected_answer_is_an_error(name: str) -> None:
    reason = refused(judge_of({"name": name}), "5", expected_answer="")
    assert reason.startswith("the item has no expected_answer")


def test_accepted_answers_suffice() -> None:
    item = {"expected_answer": "", "accepted_answers": ["5"]}
    assert judge_one(CORRECTNESS, "Answer: 5", **item).passed


def chat(*contents: str) -> dict[str, object]:
    roles = (Role.USER, Role.ASSISTANT)
    messages = [Message(roles[i % 2], content) for i, content in enumerate(contents)]
    return {"prompt": "", "messages": messages}


def test_the_question_of_a_conversation_is_its_last_user_message() -> None:
    first, second = "List the numbers in ascending order.", "Which cities are these?"
    ordered = chat(second, "?", first)
    free = chat(first, "?", second)
    wrong_order = {"expected_answer": "1, 2, 3"}
    assert not judge_one(CORRECTNESS, "Answer: 3, 2, 1", **wrong_order, **ordered).passed
    assert judge_one(CORRECTNESS, "Answer: 3, 2, 1", **wrong_order, **free).passed


def test_a_judging_model_sees_the_transcript() -> None:
    item = chat("Name a city.", "Rome", "Another one?")
    prompt = prompt_for("r", candidate("Oslo", **item))
    assert "user: Name a city.\\nassistant: Rome\\nuser: Another one?" in prompt
    assert "`expected_answer` is a right answer." in prompt
    assert "expected_answer" not in prompt_for("r", candidate("Oslo", **item, expected_answer=""))
