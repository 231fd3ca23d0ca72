from __future__ import annotations

import pytest

from tailrace.cli.run_report.examples import counts, examples_of
from tailrace.v1.evaluation_pb2 import Prediction, Verdict


def test_verdicts_stand_beside_their_own_sample() -> None:
    predictions = [Prediction(example_id="a", sample=sample) for sample in (0, 1)]
    verdicts = [
        Verdict(example_id="a", sample=1, judge="j", outcome="OUTCOME_FAIL"),
        Verdict(example_id="a", sample=0, judge="j", outcome="OUTCOME_PASS"),
        Verdict(example_id="a", sample=1, judge="k", outcome="OUTCOME_PASS"),
        Verdict(example_id="beyond", outcome="OUTCOME_ERROR"),
    ]
    examples = examples_of(predictions, verdicts)
    rows = [(e.outcome, e.prediction.sample, e.verdict.judge) for e in examples]
    assert rows == [("fail", 1, "j"), ("pass", 0, "j"), ("pass", 1, "k")]
    assert counts(examples) == {"fail": 1, "pass": 2}


@pytest.mark.parametrize(
    ("written", "text"),
    [("a\nb", "a\nb"), ("a\n\n", "a⏎⏎"), ("\n \n", "⏎ ⏎"), ("", "")],
)
def test_line_ends_at_the_end_are_seen(written: str, text: str) -> None:
    (example,) = examples_of([Prediction(text=written)], [])
    assert example.answer == text


def test_thinking_stands_beside_the_answer() -> None:
    (thinks,) = examples_of(
        [Prediction(text="x", reasoning="a", answer="b", thinking_closed=True)], []
    )
    assert (thinks.reasoning, thinks.answer, thinks.is_unfinished) == ("a", "b", False)
    (endless,) = examples_of(
        [Prediction(text="x", reasoning="a", answer="", thinking_closed=False)], []
    )
    assert (endless.reasoning, endless.answer, endless.is_unfinished) == ("a", "", True)
