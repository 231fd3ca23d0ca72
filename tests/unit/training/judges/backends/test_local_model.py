"""A judging model on the worker, trained to judge or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.data.trace import Step, Trace
from tailrace.formats.schema import parse
from tailrace.formats.spec.judge_spec import JudgeSpec
from tailrace.formats.spec.run_spec import ModelSpec, TrainSpec
from tests.unit.training.judges.candidates import candidate
from training.judges import Judge, JudgeError, JudgeSetup, TextVerdict, make_judge
from training.judges.llm_rubric import prompt_for
from training.loop.final_model import save_folder
from training.loop.fit import fit
from training.loop.start import prepare
from training.models.family import Model, Params
from training.observer import Observer

GRADES = {"Answer: 5": (9, "right"), "Answer: 55": (2, "wrong")}
"""Score and reason that the trained judge gives each answer."""


def rubric_judge(folder: Path, max_new_tokens: int) -> Judge:
    backend = {"model": "models/judge", "max_new_tokens": max_new_tokens}
    spec = {"name": "llm_rubric", "llm_rubric": {"rubric": "r", "backend": backend}}
    return make_judge(JudgeSetup(parse(JudgeSpec, spec), folder))


@pytest.fixture(scope="module")
def trained_judge(tmp_path_factory: pytest.TempPathFactory, model: Model, tokenizer: Any) -> Path:
    """A model fine-tuned on the prompts of a rubric judge until it knows the replies."""
    place = tmp_path_factory.mktemp("trained_judge")
    traces = []
    for answer, (score, reason) in GRADES.items():
        verdict = json.dumps({"score": score, "reason": reason})
        lines = ["```json", verdict, "```"]
        steps = [Step(i=i, type="verdict", content=line) for i, line in enumerate(lines)]
        traces.append(Trace(prompt=prompt_for("r", candidate(answer)), answer="-", steps=steps))
    train = TrainSpec(max_steps=40, batch_size=2, max_seq_length=256, learning_rate=3e-3)
    fit(
        prepare(ModelSpec(preset="gpt2-nano"), train, traces),
        train,
        place / "checkpoints",
        place / "model",
        Observer(),
    )
    return place / "model"


def test_a_model_trained_to_judge(trained_judge: Path) -> None:
    judge = rubric_judge(trained_judge, 64)
    outcomes = list(judge.judge_all([candidate(answer) for answer in GRADES]))
    verdicts = [outcome for outcome in outcomes if isinstance(outcome, TextVerdict)]
    grades = [(verdict.score, verdict.passed, verdict.reason) for verdict in verdicts]
    assert grades == [(0.9, True, "right"), (0.2, False, "wrong")], outcomes
    assert all(verdict.cost_tokens for verdict in verdicts)


def test_a_prompt_beyond_the_context_is_an_error_and_no_verdict(
    tmp_path: Path, model: Model, params: Params, tokenizer: Any
) -> None:
    save_folder(tmp_path, model, params, tokenizer)
    judge = rubric_judge(tmp_path, 4)
    outcomes = list(judge.judge_all([candidate("a"), candidate("b")]))
    # The prompt alone is longer than the tiny model's context of 64 tokens.
    assert [type(outcome) for outcome in outcomes] == [JudgeError, JudgeError]
    assert "the judging model generated nothing" in str(outcomes[0])
