from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.jsonl import read_records
from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.data.split import Split
from tailrace.formats.data.trace import Step, Trace
from tailrace.formats.data.verdict import Verdict
from tailrace.formats.results import ComparisonKind
from tailrace.formats.spec.judge_spec import JudgeSpec
from tests.unit.training.judges.candidates import prediction
from training.errors import ConfigError, TooManyJudgeErrorsError
from training.judges import Candidate, JudgeError, TextVerdict
from training.judging import all_judges
from training.judging.all_judges import JudgeInputs, count_leaked, run_judges
from training.judging.one_judge import judge_predictions
from training.observer import Observer

ITEMS = [EvalItem(id=str(i), prompt=f"p{i}", expected_answer=str(i)) for i in range(4)]
ROLES = [ModelRole.TRAINED, ModelRole.BASE]
ANSWERS = [
    *(prediction(str(i), example_id=str(i)) for i in range(4)),
    *(prediction("0", ModelRole.BASE, example_id=str(i)) for i in range(4)),
]


class Odd:
    """A judge with given outcomes."""

    name, version = "odd", "1"

    def __init__(self, outcomes: Sequence[Any], *, compares: bool = False) -> None:
        self.outcomes, self.compares = outcomes, compares
        self.candidates: list[Candidate] = []

    def judge_all(self, candidates: Sequence[Candidate]) -> Iterator[TextVerdict | JudgeError]:
        self.candidates += candidates
        for outcome in self.outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, JudgeError):
                raise outcome
            yield outcome


def test_all_judges_write_one_file_and_the_lift_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    specs = [JudgeSpec("answer_correctness"), JudgeSpec("contains")]
    inputs = JudgeInputs({"s": ITEMS}, ANSWERS, ROLES, leaked={"s": 2})
    result = run_judges(specs, inputs, path, Observer())
    assert [(s.judge, s.model_role, s.score, s.leaked) for s in result.scores] == [
        ("answer_correctness", ModelRole.TRAINED, 1, 2),
        ("answer_correctness", ModelRole.BASE, 0.25, 2),
        ("contains", ModelRole.TRAINED, 1, 2),
        ("contains", ModelRole.BASE, 0.25, 2),
    ]
    lift = result.comparisons[0]
    assert (lift.kind, lift.wins, lift.losses, lift.ties) == (ComparisonKind.LIFT, 3, 0, 1)
    assert lift.difference == 0.75
    verdicts = read_records(Verdict, path)
    assert len(verdicts) == 16
    assert verdicts[0].evidence == "the whole text"


def test_progress_is_that_of_all_judges(tmp_path: Path, recorder: Any) -> None:
    specs = [JudgeSpec("answer_correctness"), JudgeSpec("contains")]
    observer = recorder()
    run_judges(specs, JudgeInputs({"s": ITEMS}, ANSWERS, ROLES), tmp_path / "v.jsonl", observer)
    assert observer.done == [(done, 16, "verdicts") for done in (4, 8, 12, 16)]


def test_a_judge_that_cannot_be_made_stops_all_before_they_begin(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    specs = [JudgeSpec("answer_correctness"), JudgeSpec("vibes")]
    with pytest.raises(ConfigError, match="no judge 'vibes'"):
        run_judges(specs, JudgeInputs({"s": ITEMS}, ANSWERS, ROLES), path, Observer())
    assert not path.exists()


def test_too_many_errors_fail_after_the_verdicts_are_written(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    inputs = JudgeInputs({"s": ITEMS}, ANSWERS[:3], [ModelRole.TRAINED])
    spec = JudgeSpec("answer_correctness", max_error_rate=0.2)
    with pytest.raises(TooManyJudgeErrorsError, match=r"1 of 4 .* more than the allowed 20%"):
        run_judges([spec], inputs, path, Observer())
    assert len(read_records(Verdict, path)) == 4
    run_judges([JudgeSpec("answer_correctness", max_error_rate=0.25)], inputs, path, Observer())


GOOD = TextVerdict(passed=True, score=1.0, reason="good")


@pytest.mark.parametrize(
    ("given", "expected", "reason"),
    [
        ([GOOD, JudgeError("away", 5), GOOD, GOOD], "pass error pass pass", "away"),
        ([GOOD, KeyError("bug")], "pass error error error", "the judge failed: KeyError: 'bug'"),
        ([GOOD], "pass error error error", "gave no verdict"),
        (
            [GOOD, TextVerdict(passed=True, score=float("nan"), reason="?"), GOOD, GOOD],
            "pass error pass pass",
            "gave the score nan",
        ),
    ],
)
def test_whatever_a_judge_does_wrong_is_an_error(
    given: list[Any], expected: str, reason: str
) -> None:
    judge = Odd(given)
    output = judge_predictions(judge, {"s": ITEMS}, ANSWERS, [ModelRole.TRAINED], Observer())
    assert " ".join(v.outcome for v in output.verdicts) == expected
    assert reason in output.verdicts[1].reason


def test_running_out_of_memory_is_not_hidden() -> None:
    with pytest.raises(MemoryError):
        judge_predictions(Odd([MemoryError()]), {"s": ITEMS}, ANSWERS, ROLES, Observer())


def test_what_judges_write_can_be_stored() -> None:
    judge = Odd([TextVerdict(passed=True, score=1.0, reason="nul \0, half \ud800")] * 4)
    output = judge_predictions(judge, {"s": ITEMS}, ANSWERS, [ModelRole.TRAINED], Observer())
    assert output.verdicts[0].reason == "nul , half ?"


def test_a_judge_that_compares_gets_the_other_answers() -> None:
    def score(value: float) -> TextVerdict:
        return TextVerdict(passed=value == 1, score=value, reason="r")

    judge = Odd([score(1), score(0.5), score(0), score(1)], compares=True)
    output = judge_predictions(judge, {"s": ITEMS}, ANSWERS, ROLES, Observer())
    assert [q.other.text for q in judge.candidates if q.other] == ["0"] * 4
    (own,) = output.scores
    assert (own.model_role, own.mean_score) == (ModelRole.TRAINED, 0.625)
    (lift,) = output.comparisons
    assert (lift.kind, lift.wins, lift.losses, lift.ties) == (ComparisonKind.LIFT, 2, 1, 1)
    assert lift.difference == 0.25

    judge = Odd([GOOD] * 8, compares=True)
    other_run = [prediction("z", example_id="1"), prediction("y", ModelRole.BASE, example_id="1")]
    output = judge_predictions(judge, {"s": ITEMS}, ANSWERS, ROLES, Observer(), baseline=other_run)
    assert [q.other.text if q.other else None for q in judge.candidates[:4]] == [
        *(None, "z", None, None),
    ]
    assert {c.kind for c in output.comparisons} == {ComparisonKind.BASELINE}


def test_leaked_questions_are_those_of_the_train_part() -> None:
    def trace(prompt: str) -> Trace:
        return Trace(prompt=prompt, steps=[Step(i=0, type="t", content="c")], answer="a")

    split = Split([trace("p1"), trace("P2.")], [trace("p3")], eval_fraction=0.3, split_seed=1)
    assert count_leaked({"s": ITEMS}, split) == {"s": 2}
    assert count_leaked({"s": ITEMS}, None) == {}
    assert all_judges.judge_setup(JudgeSpec("contains")).model is None
