from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats import catalog
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JudgeSpec
from training.evalsets import load_eval_set
from training.judges.answer_correctness import AnswerCorrectnessJudge
from training.judges.base import JudgeSetup, TextVerdict

JUDGE = AnswerCorrectnessJudge(JudgeSetup(JudgeSpec("answer_correctness")))
WAYS = ("Answer: {}", "so\n**Answer:** {}.", "The answer is {}.", "#### {}", "\\boxed{{{}}}", "{}")


def judge(expected: str, text: str, **item: Any) -> TextVerdict:
    return JUDGE.judge(EvalItem(id="i", prompt="p", expected_answer=expected, **item), text)


@pytest.mark.parametrize(
    "item",
    [item for name in catalog.EVAL_SETS for item in load_eval_set(name)],
    ids=lambda item: item.id,
)
def test_every_answer_of_a_shipped_set_passes_however_marked(item: EvalItem) -> None:
    for answer in [item.expected_answer, *item.accepted_answers]:
        for way in WAYS:
            verdict = JUDGE.judge(item, way.format(answer))
            assert verdict.passed, (answer, way, verdict)
            assert verdict.flexible
            assert verdict.score == 1
    assert not JUDGE.judge(item, "Answer: 12345").passed


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("97", "Calculating 82 + 15 = 97\nAnswer: 97"),
        ("97", "97"),
        ("97", " 97.\n"),
        ("1,234.5", "Answer: 1,234.50"),
        ("97", "Answer: 97\nThe answer is 97.0."),
        ("apple apple", "Answer: Apple  apple"),
        ("one\ntwo", "Answer: one\ntwo"),
    ],
)
def test_passes(expected: str, text: str) -> None:
    assert judge(expected, text).passed


@pytest.mark.parametrize(
    ("expected", "text", "reason"),
    [
        ("97", "Calculating 82 + 15 = 97", "the whole text, which marks no answer, is not"),
        ("97", "Answer: 98", "is not the expected answer"),
        ("97", "Answer: 97\nAnswer: 98", "ambiguous: the text marks 2 differing answers"),
        ("97", "82 + 15 = 97", "is not the expected answer"),
        ("97", "Answer: 82 + 15", "is not the expected answer"),
        ("97", "Answer:", "is empty"),
        ("97", "", "is empty"),
        ("apple apple", "Answer: apple apple apple", "is not the expected answer"),
        ("?", "Answer: !", "is not the expected answer"),
    ],
)
def test_fails(expected: str, text: str, reason: str) -> None:
    verdict = judge(expected, text)
    assert not verdict.passed
    assert verdict.score == 0
    assert reason in verdict.reason


def test_markers_of_a_judge_and_of_an_item() -> None:
    own = AnswerCorrectnessJudge(
        JudgeSetup(JudgeSpec("answer_correctness", markers=["The sum is"]))
    )
    plain = EvalItem("i", "p", "42")
    marked = EvalItem("i", "p", "42", markers=["Ergebnis:"])
    text = "We add. So the sum is 42, as expected."
    assert not JUDGE.judge(plain, text).passed
    assert own.judge(plain, text).passed
    assert not own.judge(plain, "The sum is 41").passed
    # The item's replace the judge's; the built-in ones are always there.
    assert not own.judge(marked, text).passed
    assert own.judge(marked, "15 + 27\nErgebnis：42").passed
    assert own.judge(marked, "Answer: 42").passed
    assert not own.judge(marked, "Answer: 42\nErgebnis: 41").passed


@pytest.mark.parametrize(
    ("marker", "text"),
    [
        ("The sum is", "If the sum is 42, then I am wrong."),
        ("sum", "The summary 42"),
        ("4", "442"),
        ("\u200b", "The sum is 42"),
        (".*", "The sum is 42"),
        ("(", "The sum is 42"),
    ],
)
def test_a_marker_of_an_item_marks_nothing_else(marker: str, text: str) -> None:
    assert not JUDGE.judge(EvalItem("i", "p", "42", markers=[marker]), text).passed


def test_the_last_marker_counts_alone_where_the_item_says_so() -> None:
    text = "Answer: 41\nWait.\nAnswer: 42"
    assert not judge("42", text).passed
    assert judge("42", text, last_marker=True).passed
    assert not judge("41", text, last_marker=True).passed
    assert not judge("42", f"{text}\nEDIT: 41", last_marker=True).passed


def test_what_was_extracted() -> None:
    assert judge("1", "Answer: 1\nAnswer: 2").extracted == "1 | 2"
    assert judge("1", "no marker").extracted == ""
    assert judge("1", "no marker").marked is False
    assert judge("1", "Answer: x").marked is True


@pytest.mark.parametrize("tolerance", ["0.3", "0.6", "0.7", "0.1", "1e-05"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_tolerance_is_the_largest_difference_that_passes(tolerance: str, sign: int) -> None:
    largest = Decimal(tolerance)
    at = judge("5", f"Answer: {5 + sign * largest:f}", tolerance=float(tolerance))
    assert (at.passed, at.flexible) == (True, True)
    # Unmarked, so that only the last number counts.
    unmarked = judge("5", f"I get {5 + sign * largest:f}", tolerance=float(tolerance))
    assert (unmarked.passed, unmarked.flexible) == (False, True)
    beyond = 5 + sign * (largest + Decimal("1e-9"))
    outside = judge("5", f"Answer: {beyond:f}", tolerance=float(tolerance))
    assert (outside.passed, outside.flexible) == (False, False)


def test_tolerance() -> None:
    assert judge("3.14", "Answer: 3.1416", tolerance=0.01).passed
    assert not judge("3.14", "Answer: 3.1416").passed
    assert not judge("3.14", "Answer: 3.2", tolerance=0.01).passed


@pytest.mark.parametrize(
    ("answer", "optional", "required"),
    [
        ("5 cm", True, True),
        ("5cm", True, True),
        ("5", True, False),
        ("5 m", False, False),
        ("6 cm", False, False),
    ],
)
def test_units(answer: str, optional: bool, required: bool) -> None:
    text = f"Answer: {answer}"
    assert judge("5 cm", text, unit="cm").passed is optional
    assert judge("5", text, unit="cm", unit_required=True).passed is required


@pytest.mark.parametrize("answer", ["B", "(b)", "b.", "B) blue", "blue"])
def test_choices_by_letter_or_text(answer: str) -> None:
    assert judge("blue", f"Answer: {answer}", choices=["red", "blue"]).passed


@pytest.mark.parametrize("answer", ["A", "c", "A) blue", "red"])
def test_wrong_choices(answer: str) -> None:
    assert not judge("blue", f"Answer: {answer}", choices=["red", "blue"]).passed


def test_flexible_stands_beside_the_score() -> None:
    lenient = judge("97", "I get 97")
    assert (lenient.passed, lenient.score, lenient.flexible) == (False, 0, True)
    assert judge("blue", "The colour is blue").flexible
    assert not judge("apple apple", "Answer: apple apple apple").flexible
    assert not judge("97", "97 or 98").flexible


@given(st.text(max_size=200), st.text(min_size=1, max_size=20))
def test_any_text_is_judged(text: str, expected: str) -> None:
    verdict = judge(expected, text)
    assert verdict.score in (0, 1)
    assert verdict.passed <= verdict.flexible
