from __future__ import annotations

import pytest

from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.data.verdict import Outcome, Verdict
from tailrace.formats.schema import SpecError, parse, to_mapping

VERDICT = Verdict(
    eval_set="eval_v1",
    example_id="a",
    model_role=ModelRole.BASE,
    judge="answer_correctness",
    version="1",
    outcome=Outcome.PASS,
    expected="42",
    reason="the marked answer is the expected answer",
    score=1.0,
    extracted="42",
)


def test_round_trip() -> None:
    assert parse(Verdict, to_mapping(VERDICT)) == VERDICT


def test_an_error_has_no_score_even_where_a_line_says_so() -> None:
    line = {**to_mapping(VERDICT), "outcome": "error", "score": 0.0}
    read = parse(Verdict, line)
    assert read.score is None
    assert "score" not in to_mapping(read)
    assert to_mapping(parse(Verdict, {**line, "outcome": "fail"}))["score"] == 0.0


def test_refused() -> None:
    with pytest.raises(SpecError) as caught:
        parse(Verdict, {**to_mapping(VERDICT), "score": 1.5, "outcome": "maybe"})
    assert [v.field for v in caught.value.violations] == ["outcome", "score"]
