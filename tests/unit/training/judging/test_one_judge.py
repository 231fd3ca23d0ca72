from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.jsonl import write_records
from tailrace.formats.data.message import ToolCall, ToolFunction
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.data.verdict import Outcome, Verdict
from tailrace.formats.schema import parse, to_mapping
from tailrace.formats.spec.judge_spec import JudgeSpec
from training.errors import DataError, StoppedError
from training.generate.prediction_files import read_predictions
from training.judges import JudgeSetup, make_judge
from training.judging.grouping import model_roles
from training.judging.one_judge import JudgeOutput, judge_predictions
from training.observer import Observer, StopRequest

ITEMS = [EvalItem(id=str(i), prompt=f"p{i}", expected_answer=str(i)) for i in range(4)]


def prediction(i: int, text: str = "", **changes: Any) -> Prediction:
    fields: dict[str, Any] = {
        "eval_set": "s",
        "example_id": str(i),
        "model_role": ModelRole.TRAINED,
        "prompt": f"p{i}",
        "text": text,
        "finish_reason": FinishReason.EOS,
        "prompt_tokens": 1,
        "completion_tokens": 1,
    }
    return Prediction(**fields | changes)


def run(predictions: list[Prediction], observer: Observer | None = None) -> JudgeOutput:
    return judge_predictions(
        make_judge(JudgeSetup(JudgeSpec("answer_correctness"))),
        {"s": ITEMS},
        predictions,
        [ModelRole.TRAINED],
        observer or Observer(),
    )


def test_one_verdict_per_item_and_a_missing_prediction_is_an_error(recorder: Any) -> None:
    failed = prediction(3, finish_reason=FinishReason.ERROR, error="too long")
    seen = recorder()
    output = run([prediction(0, "Answer: 0"), prediction(1, "2"), failed], seen)
    assert [(v.example_id, v.outcome) for v in output.verdicts] == [
        ("0", Outcome.PASS),
        ("1", Outcome.FAIL),
        ("2", Outcome.ERROR),
        ("3", Outcome.ERROR),
    ]
    assert "no prediction" in output.verdicts[2].reason
    assert "too long" in output.verdicts[3].reason
    assert seen.verdicts == output.verdicts
    (score,) = output.scores
    assert (score.passed, score.total, score.errors, score.score) == (1, 2, 2, 0.5)
    assert score.marker_rate == 0.5
    assert score.flexible_score == 0.5
    assert 0 < score.interval_low < 0.5 < score.interval_high < 1


def test_nothing_to_score() -> None:
    (score,) = run([]).scores
    assert (score.total, score.errors, score.score, score.interval_low) == (0, 4, None, None)


def test_samples_are_judged_apart() -> None:
    output = run([prediction(0, "0"), prediction(0, "1", sample=1)])
    assert [(v.sample, v.outcome) for v in output.verdicts[:2]] == [
        (0, Outcome.PASS),
        (1, Outcome.FAIL),
    ]


def test_a_missing_sample_is_an_error_of_its_own() -> None:
    predictions = [prediction(i, str(i), sample=n) for i in range(4) for n in range(4)]
    output = run(
        [p for p in predictions if (p.example_id, p.sample) not in {("1", 0), ("1", 2), ("1", 3)}]
    )
    assert [(v.sample, v.outcome) for v in output.verdicts[4:8]] == [
        (0, Outcome.ERROR),
        (1, Outcome.PASS),
        (2, Outcome.ERROR),
        (3, Outcome.ERROR),
    ]
    assert "no prediction for sample 2" in output.verdicts[6].reason
    (score,) = output.scores
    assert (score.total, score.errors) == (13, 3)
    assert [estimate.k for estimate in score.pass_at_k] == [1, 2, 4]


def test_the_spec_says_how_many_samples_there_should_be() -> None:
    judge = make_judge(JudgeSetup(JudgeSpec("contains")))
    output = judge_predictions(
        judge, {"s": ITEMS[:1]}, [prediction(0, "0")], [ModelRole.TRAINED], Observer(), n_samples=2
    )
    assert [v.outcome for v in output.verdicts] == [Outcome.PASS, Outcome.ERROR]


def majority_of(expected: str, *texts: str, **item: Any) -> float | None:
    judge = make_judge(JudgeSetup(JudgeSpec("answer_correctness")))
    items = [EvalItem(id="0", prompt="p", expected_answer=expected, **item)]
    answers = [prediction(0, text, sample=i) for i, text in enumerate(texts)]
    output = judge_predictions(judge, {"s": items}, answers, [ModelRole.TRAINED], Observer())
    return output.scores[0].majority_score


@pytest.mark.parametrize(
    ("expected", "texts", "item", "right"),
    [
        ("5", ["5", "5", "Answer: 5\nAnswer: 6"], {}, 1),
        ("5", ["5", "5.0", "five", "6", "6"], {}, 1),
        ("5", ["Answer: x = 5", "Answer: 10/2", "6", "6.0", "six"], {}, 0),
        ("5", ["5", "Answer: 6\nAnswer: 6.0", "6"], {}, 0),
        ("5", ["5", "Answer: 5\nAnswer: 6", "Answer: 7\nAnswer: 8"], {}, 0),
        ("5", ["5", "500 cm", "6", "6 m", "Answer: 5 m"], {"unit": "m"}, 1),
        ("5", ["6", "6", "5 m", "5"], {"unit": "m", "unit_required": True}, 0),
        ("blue", ["red", "red", "B", "blue", "(b) blue"], {"choices": ["red", "blue"]}, 1),
        (
            "CO2",
            ["O2", "O2", "CO2", "carbon dioxide", "CO₂"],
            {"accepted_answers": ["carbon dioxide"]},
            1,
        ),
        ("2, 3", ["4, 5", "4, 5", "3, 2", "2 and 3", "{2, 3}"], {}, 1),
        ("2024-03-05", ["2024-03-06", "6 March 2024", "2024-03-05"], {}, 0),
    ],
)
def test_the_majority_is_of_values(
    expected: str, texts: list[str], item: dict[str, Any], right: float
) -> None:
    assert majority_of(expected, *texts, **item) == right


def test_predictions_of_another_set_are_refused() -> None:
    with pytest.raises(DataError, match="s/9 is for an item that is not judged here"):
        run([prediction(9)])
    with pytest.raises(DataError, match="two predictions s/0/0"):
        run([prediction(0), prediction(0)])


def test_stops_when_asked(recorder: Any) -> None:
    seen = recorder(StopRequest.CANCEL, 0)
    seen.progress(0, 1, "verdicts")
    with pytest.raises(StoppedError):
        run([], seen)


def test_reading_predictions(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    predictions = [prediction(0, "x"), prediction(1, model_role=ModelRole.BASE)]
    write_records(path, predictions)
    assert read_predictions(path) == predictions
    assert model_roles(predictions) == [ModelRole.TRAINED, ModelRole.BASE]
    path.write_text('{"text": 5}\n')
    with pytest.raises(DataError, match=r"line 1: eval_set: is required.*text: must be text"):
        read_predictions(path)
    with pytest.raises(DataError, match="does not exist"):
        read_predictions(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        ({"expected_answer": "x" * 60_000}, "x" * 60_000),
        ({"expected_answer": "x" * 1_000_001}, "x" * 1_000_000),
        (
            {"expected_tool_calls": [ToolCall(ToolFunction("add", {"a": 1}))]},
            'add({"a": 1})',
        ),
    ],
)
def test_verdicts_hold_what_is_expected_within_their_bound(
    item: dict[str, Any], shown: str
) -> None:
    eval_set = [EvalItem("0", "p", **item)]
    judge = make_judge(JudgeSetup(JudgeSpec("tool_call")))
    output = judge_predictions(
        judge, {"s": eval_set}, [prediction(0, "Hi")], [ModelRole.TRAINED], Observer()
    )
    (verdict,) = output.verdicts
    assert verdict.expected == shown
    assert parse(Verdict, to_mapping(verdict)) == verdict
