from __future__ import annotations

import pytest

from tests.unit.training.judges.asked import judge_of, judge_one, refused
from training.judges import Judge, math_equivalence


@pytest.fixture(scope="module")
def judge() -> Judge:
    # One process for all of them: it takes a second to start.
    return judge_of({"name": "math_equivalence"})


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (r"\frac{1}{2}", "Answer: 0.5"),
        ("0.5", r"\boxed{\frac12}"),
        ("(x+1)^2", "Answer: $x^2 + 2x + 1$"),
        (r"2\sqrt{3}", r"\boxed{\sqrt{12}}"),
        ("5", "Answer: x = 5"),
        ("2x+1", "Answer: y = 2x + 1"),
        ("1200", r"Answer: 1.2 \times 10^{3}"),
        (r"\{1, 2\}", r"\boxed{\{2, 1\}}"),
        ("5 cm", r"\boxed{5\text{ cm}}"),
    ],
)
def test_equal(judge: Judge, expected: str, text: str) -> None:
    judgement = judge_one(judge, text, expected_answer=expected, unit="cm")
    assert judgement.passed, judgement


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("5", "Answer: -5"),
        ("5", "The answer is not 5"),
        ("5", "Answer: 3 or 5"),
        ("5", r"\boxed{\pm 5}"),
        ("5", r"Answer: x \neq 5"),
        ("5", "Answer: 5%"),
        ("5", "Answer: 5 apples"),
        ("5", r"\boxed{5\text{ m}}"),
        ("7", "Answer: 3 + 4"),
        ("120", "Answer: 5!"),
        ("1234", "Answer: 1.234"),
        ("(1, 2)", "Answer: (2, 1)"),
        ("[1, 2]", "Answer: (1, 2)"),
        ("5", "Answer: 5\nAnswer: 6"),
        ("5", ""),
        ("5", "no answer at all"),
        ("5", "Answer: " + "(" * 3000),
    ],
)
def test_not_equal(judge: Judge, expected: str, text: str) -> None:
    judgement = judge_one(judge, text, expected_answer=expected)
    assert not judgement.passed, judgement


def test_what_takes_too_long_is_an_error_and_the_next_answer_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(math_equivalence, "SECONDS", 3.0)
    judge = judge_of({"name": "math_equivalence"})
    hostile = r"Answer: 9^{9^{9^{9}}}"
    assert "longer than 3 s" in refused(judge, hostile) or "memory" in refused(judge, hostile)
    monkeypatch.setattr(judge._process, "_seconds", 60.0)  # type: ignore[attr-defined]
    assert judge_one(judge, r"\boxed{\frac{10}{2}}").passed
