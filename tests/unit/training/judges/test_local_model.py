"""A judging model that the worker runs, whose context is too short to judge in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tailrace.formats.judge_spec import JudgeSpec
from tailrace.formats.schema import parse
from tests.unit.training.judges.asked import question
from training.judges import JudgeError, JudgeSetup, make_judge
from training.models.family import Model, Params
from training.sft import save_folder


def test_a_model_of_this_machine_is_asked(
    tmp_path: Path, model: Model, params: Params, tokenizer: Any
) -> None:
    save_folder(tmp_path, model, params, tokenizer)
    options = {"rubric": "r", "backend": {"model": "models/judge", "max_new_tokens": 4}}
    spec = parse(JudgeSpec, {"name": "llm_rubric", "llm_rubric": options})
    judge = make_judge(JudgeSetup(spec, tmp_path))
    found = list(judge.judge_all([question("a"), question("b")]))
    # The prompt alone is longer than the tiny model's context of 64 tokens.
    assert [type(each) for each in found] == [JudgeError, JudgeError]
    assert "the judging model generated nothing" in str(found[0])
