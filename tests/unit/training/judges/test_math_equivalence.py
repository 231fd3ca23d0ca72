from __future__ import annotations

import pytest

from tests.unit.training.judges.candidates import judge_of, judge_one, refused
from training.judges import Judge, math_equivalence
from training.judges.answers.votes import AMBIGUOUS


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
        ("0.5", r"\boxed{\frac{2}{4}}"),
        ("1.5", r"\boxed{1\frac{1}{2}}"),
        (r"5^\circ", "Answer: 5°"),
        (r"\pi", "Answer: 3.141592653589793"),
        (r"2\pi r", r"\boxed{2πr}"),
        (r"\sqrt{2}", "Answer: √2"),
        (r"\sqrt{x+1}", "Answer: √(x+1)"),
        ("x^2", "Answer: x²"),
        (r"\frac{1}{2}", "Answer: ½"),
        (r"\frac{\pi}{2}", "Answer: π/2"),
        (r"3 \times x", "Answer: 3 × x"),
        (r"\infty", "Answer: ∞"),
        ("-x", "Answer: −x"),
        ("6", "<think>\nThe answer is 5?\n</think>\n\nThe answer is $\\boxed{6}$"),
        ("6", "The final answer is:\n\n\\[\n\\boxed{6}\n\\]"),
        (r"\frac{1}{2}", "Answer:\n$$\n\\dfrac{1}{2}\n$$"),
        (r"\sqrt{12}", r"The answer is $2\sqrt{3}$, which is about 3.46."),
        ("x = 5", "Answer:\n\\begin{align*}\nx + 1 &= 6 \\\\\nx &= 5\n\\end{align*}"),
        ("#### 12", "Answer: 12"),
        ("6", "Answer: 6</s>"),
        (r"2\times 10^5", "Answer: 2×10⁵"),
        ("x^{n}", "Answer: xⁿ"),
        ("6", "Answer:\n$$\\begin{aligned} x &= 2\\cdot 3\\\\ &= 6\\end{aligned}$$"),
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
        ("0.0000001", "Answer: 0.0000002"),
        ("1/3", "Answer: 0.3333333"),
        (r"\frac{1}{3}", "Answer: 0.333333333333333"),
        (r"\pi", "Answer: 3.14159265"),
        ("5", r"Answer: 5^\circ"),
        ("5", "Answer: 5°"),
        (r"5^\circ", "Answer: 5"),
        ("5", "Answer: 5 or 5"),
        ("5", "Answer: 5, 5"),
        ("8", "Answer: 2^3"),
        ("5", r"\boxed{\frac{10}{2}}"),
        ("5", r"\boxed{\sqrt{25}}"),
        ("5", "Answer: 5\nMy final answer: 6"),
        ("x'", "Answer: x"),
    ],
)
def test_not_equal(judge: Judge, expected: str, text: str) -> None:
    judgement = judge_one(judge, text, expected_answer=expected)
    assert not judgement.passed, judgement


def test_what_takes_too_long_is_an_error_and_the_next_answer_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(math_equivalence.PROCESS, "seconds", 3.0)
    judge = judge_of({"name": "math_equivalence"})
    error = refused(judge, r"Answer: 9^{9^{9^{9}}}", expected_answer=r"2\sqrt{3}")
    assert "longer than 3 s" in error or "memory" in error
    monkeypatch.setattr(math_equivalence.PROCESS, "seconds", 60.0)
    assert judge_one(judge, r"\boxed{\sqrt{12}}", expected_answer=r"2\sqrt{3}").passed


@pytest.mark.parametrize("answer", [r"\boxed{5^\circ}", "Answer: 5°", "Answer: 5 degrees", "5"])
def test_degrees_may_be_the_unit(judge: Judge, answer: str) -> None:
    assert judge_one(judge, answer, unit="degrees").passed


def test_votes_are_of_values(judge: Judge) -> None:
    texts = ("6", "x = 6.0", r"\boxed{\frac{13}{2}}", "6.5", "Answer: 5\nAnswer: 6", "x^2")
    votes = [judge_one(judge, text).vote for text in texts]
    assert votes == ["6", "6", "13/2", "13/2", AMBIGUOUS, "x^2"]
    same = [
        judge_one(judge, text, expected_answer="(x+1)^2").vote for text in ("x^2+2x+1", "(x+1)^2")
    ]
    assert same[0] == same[1]


def test_the_comparing_process_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert judge_one(
        judge_of({"name": "math_equivalence"}), r"\sqrt{12}", expected_answer=r"2\sqrt{3}"
    ).passed
    assert capfd.readouterr() == ("", "")
