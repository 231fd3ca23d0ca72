from __future__ import annotations

import re
from typing import Any

import pytest

from tailrace.v1 import run_pb2


@pytest.fixture
def comparison(plane: Any) -> run_pb2.CompareRunsResponse:
    """Run b against run a: another learning rate, 12 items won, 3 of a not shared."""
    response: run_pb2.CompareRunsResponse = plane.runs.comparison
    difference = response.spec_differences.add(path="train.learning_rate")
    difference.values.add(number_value=2e-5)
    difference.values.add(null_value=0)
    loss = response.metrics.add(name="train.last_loss")
    loss.values.add(number_value=0.5)
    loss.values.add(number_value=0.25)
    for run, end in (("runs/a", 0.5), ("runs/b", 0.25)):
        curve = response.curves.add(run=run, name="loss")
        for step, value in ((1, 5.5), (40, end)):
            curve.points.add(name="loss", step=step, value=value)
    response.curves.add(run="runs/a", name="eval_loss").points.add(step=1, value=7.5)
    verdicts = response.verdicts.add(run="runs/b", model_role="MODEL_ROLE_TRAINED", shared=50)
    verdicts.not_shared_first, verdicts.version, verdicts.version_first = 3, "2", "1"
    compared = verdicts.comparison
    compared.judge, compared.eval_set = "answer_correctness", "eval_v1"
    compared.wins, compared.losses, compared.ties = 12, 1, 37
    compared.difference, compared.low, compared.high = 0.22, 0.1, 0.34
    compared.p_value, compared.test = 0.0034, "PAIRED_TEST_MCNEMAR"
    for i in range(13):
        verdicts.changes.add(example_id=f"item-{i}", score=float(i != 0), score_first=float(i == 0))
    return response


def test_runs_beside_each_other(served: Any, comparison: run_pb2.CompareRunsResponse) -> None:
    result = served("runs", "compare", "a", "b")
    assert result.code == 0
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert "KEY a b" in lines
    assert "train.learning_rate 2e-05 -" in lines
    assert "train.last_loss 0.5 0.25" in lines
    assert lines[lines.index("loss by step") :][1:5] == [
        "STEP a b",
        "1 5.5000 5.5000",
        "40 0.5000 0.2500",
        "lowest 0.5000 at 40 0.2500 at 40",
    ]
    assert "eval_loss" not in result.out
    assert (
        "b answer_correctness eval_v1 trained 12 1 37 +0.220 (+0.100 to +0.340) 0.0034 (McNemar)"
        in lines
    )
    assert "3 of a, 0 of this run" in result.out
    assert "judged by version 2, a by 1: these scores do not compare" in result.out
    assert "item-0 lost 1 -> 0" in lines
    assert "item-9 won 0 -> 1" in lines
    assert "and 3 more" in lines
    assert "item-12" not in result.out


def test_all_items_on_request(served: Any, comparison: run_pb2.CompareRunsResponse) -> None:
    out = served("runs", "compare", "a", "b", "--items").out
    assert "item-12" in out
    assert "more" not in out


def test_as_json(served: Any, plane: Any, comparison: run_pb2.CompareRunsResponse) -> None:
    document = served("runs", "compare", "a", "runs/b", "--json").json()
    assert [run["name"] for run in document["runs"]] == ["runs/a", "runs/b"]
    assert document["spec_differences"][0]["values"] == [2e-5, None]
    assert document["verdicts"][0]["comparison"]["wins"] == 12
    request = plane.faults.calls[-1][1]
    assert list(request.names) == ["runs/a", "runs/b"]


def test_equal_runs_have_nothing_to_show(served: Any) -> None:
    assert served("runs", "compare", "a", "b").out.count("nothing") == 2


@pytest.mark.parametrize(
    ("state", "both_judged", "reason"),
    [
        (
            "QUEUED",
            False,
            "b is QUEUED and has no verdicts yet; wait for them: tailrace runs watch b",
        ),
        ("SUCCEEDED", False, "b has no verdicts; judge it: tailrace runs judge b --judge JUDGE"),
        ("SUCCEEDED", True, "b and a share no judge, eval set and model; judge both alike"),
    ],
)
def test_missing_verdicts_are_explained_with_the_way_out(
    served: Any, plane: Any, state: str, both_judged: bool, reason: str
) -> None:
    plane.runs.runs["runs/a"] = run_pb2.Run(name="runs/a", state="RUN_STATE_SUCCEEDED")
    plane.runs.runs["runs/b"] = run_pb2.Run(name="runs/b", state=f"RUN_STATE_{state}")
    for name in ("a", "b") if both_judged else "a":
        judge = plane.runs.runs[f"runs/{name}"].stages.add(id="judge").result.judge
        judge.scores.add(judge=f"judge-{name}", eval_set="s", total=4)
    assert reason in served("runs", "compare", "a", "b").out


def test_run_ids_are_whole_in_a_terminal(
    served: Any, comparison: run_pb2.CompareRunsResponse, narrow_terminal: None
) -> None:
    first, second = "run-3D9a0b1c2d", "run-7eff0b1c2d"
    comparison.verdicts[0].run = f"runs/{second}"
    comparison.verdicts[0].comparison.eval_set = "dataset:held_out"
    lines = _plain(served("runs", "compare", first, second).out).splitlines()
    assert any(line.split() == ["KEY", first, second] for line in lines)
    row = next(line for line in lines if line.startswith(second))
    assert "answer_correctness" in row
    assert not any("…" in line for line in lines)


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
