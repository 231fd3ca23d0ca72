from __future__ import annotations

from pathlib import Path
from typing import Any

FILE = """
judges:
  - name: contains
    contains: {values: [yes]}
gates:
  - {name: bar, metric: score, judge: contains, eval_set: eval_v1, minimum: 0.5}
"""


def test_judging_again_is_a_run_of_one_stage(served: Any, plane: Any) -> None:
    result = served("runs", "judge", "mine", "--judge", "answer_correctness", "--id", "again")
    assert (result.code, result.out) == (0, "runs/again\n")
    spec = plane.runs.runs["runs/again"].spec
    assert spec.predictions == "runs/mine"
    assert [judge.name for judge in spec.judges] == ["answer_correctness"]
    assert [name for name in ("model", "train", "infer") if spec.HasField(name)] == []
    assert spec.cache


def test_options_and_gates_come_from_a_file(served: Any, plane: Any, tmp_path: Path) -> None:
    path = tmp_path / "judges.yaml"
    path.write_text(FILE.replace("[yes]", "['yes']"))
    arguments = ["-f", path, "--judge", "answer_correctness", "--no-cache", "--id", "again"]
    assert served("runs", "judge", "runs/mine", *arguments).code == 0
    spec = plane.runs.runs["runs/again"].spec
    assert [judge.name for judge in spec.judges] == ["answer_correctness", "contains"]
    assert list(spec.judges[1].contains.values) == ["yes"]
    assert spec.gates[0].minimum == 0.5
    assert not spec.cache


def test_following_ends_with_the_runs_code(served: Any, plane: Any) -> None:
    result = served("runs", "judge", "mine", "--judge", "answer_correctness", "--follow")
    assert result.code == 0
    assert "line 20" in result.out


def test_a_judge_must_be_named(served: Any, plane: Any) -> None:
    result = served("runs", "judge", "mine")
    assert result.code == 2
    assert "--judge JUDGE" in result.err
    assert plane.faults.calls == []


def test_wrong_options_are_named(served: Any, plane: Any, tmp_path: Path) -> None:
    path = tmp_path / "judges.yaml"
    path.write_text("judges: [{name: json_schema}]\ntrain: {}\n")
    result = served("runs", "judge", "mine", "-f", path)
    assert result.code == 2
    assert "judges[0].json_schema: is required" in result.err
    assert plane.faults.calls == []
