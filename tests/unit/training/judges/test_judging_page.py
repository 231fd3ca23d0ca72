"""The examples of docs/judging.md work unchanged."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from tailrace.formats.data.eval_item import EvalItem, parse_eval_items
from tailrace.formats.data.labelled_answer import LabelledAnswer
from tailrace.formats.schema import parse
from tailrace.formats.spec.judge_spec import JudgeSpec
from tailrace.formats.spec.run_spec import RunSpec
from tests.unit.training.judges.candidates import judge_of, prediction
from training.judges import Candidate, JudgeSetup, TextVerdict
from workers.judges import read_keys

PAGE = (Path(__file__).parents[4] / "docs" / "judging.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_judges_are_valid() -> None:
    judge_block, run_block = map(yaml.safe_load, blocks("yaml"))
    assert parse(JudgeSpec, judge_block).backend() is not None
    spec = parse(RunSpec, {**run_block, "predictions": "runs/other"})
    assert [judge.name for judge in spec.judges] == ["llm_rubric", "pairwise"]


def test_the_file_of_keys_is_valid(tmp_path: Path) -> None:
    _, keys = blocks("json")
    path = tmp_path / "keys.json"
    path.touch(mode=0o600)
    path.write_text(keys)
    (granted,) = read_keys(path)
    key = granted.key
    assert key.place == "judge.example:443"
    assert any(f"api_key_env: {key.name}" in block for block in blocks("yaml"))


def test_the_label_is_valid() -> None:
    label, _ = map(json.loads, blocks("json"))
    assert parse(LabelledAnswer, label).label == "fail"


def test_the_eval_items_are_valid() -> None:
    (lines,) = blocks("jsonl")
    items = parse_eval_items(lines.encode().splitlines())
    assert [item.question for item in items][-1] == "1 + 2?"
    text = '<tool_call>{"name": "add", "arguments": {"b": 2.0, "a": 1}}</tool_call>'
    judge = judge_of({"name": "tool_call"})
    (verdict,) = judge.judge_all([Candidate(items[-1], prediction(text))])
    assert isinstance(verdict, TextVerdict)
    assert verdict.passed


def test_the_judge_of_your_own_judges() -> None:
    (project,), (code,) = map(tomllib.loads, blocks("toml")), blocks("python")
    names = project["project"]["entry-points"]["tailrace.judges"]
    module: dict[str, Any] = {}
    exec(code, module)  # noqa: S102 - our own page
    ((name, place),) = names.items()
    spec = parse(JudgeSpec, {"name": name, "parameters": {"most": 1}})
    judge = module[place.split(":")[1]](JudgeSetup(spec))
    item = EvalItem(id="a", prompt="2 + 2?", expected_answer="4")
    assert judge.name == name
    assert [judge.judge(item, text).passed for text in ("4!", "4!!")] == [True, False]
