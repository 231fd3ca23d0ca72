"""The judge `answer_correctness` compared with a person who had not read its code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tailrace.formats.spec.judge_spec import JudgeSpec
from training.judges import JudgeSetup, make_judge
from training.judging.calibration import Calibration, calibrate, read_labelled

LABELLED = Path(__file__).parents[3] / "judging" / "labelled"


def calibration(*files: str) -> Calibration:
    answers = [answer for name in files for answer in read_labelled(LABELLED / name)]
    return calibrate(make_judge(JudgeSetup(JudgeSpec("answer_correctness"))), answers)


def test_it_agrees_and_passes_no_wrong_answer(capsys: pytest.CaptureFixture[str]) -> None:
    both = calibration("development.jsonl", "held_out.jsonl")
    with capsys.disabled():
        # Only the first line: the others would show held-out answers to authors of the judge.
        sys.stdout.write(f"\n{next(both.lines())}\n")
    assert both.count >= 150
    assert not both.errors
    assert len(both.wrong_passes) == 0
    assert both.agreement >= 0.98


def test_held_out_answers_alone() -> None:
    held_out = calibration("held_out.jsonl")
    assert held_out.count >= 50
    assert len(held_out.wrong_passes) == 0
    assert held_out.agreement >= 0.95


FORMS = read_labelled(LABELLED / "real_forms.jsonl")


@pytest.mark.parametrize("kind", sorted({answer.id.rpartition("-")[0] for answer in FORMS}))
def test_what_models_really_write(kind: str) -> None:
    answers = [answer for answer in FORMS if answer.id.rpartition("-")[0] == kind]
    judge = make_judge(JudgeSetup(JudgeSpec("answer_correctness")))
    assert list(calibrate(judge, answers).lines())[3:] == []


def test_development_answers_all_agree() -> None:
    assert list(calibration("development.jsonl").lines())[3:] == []
