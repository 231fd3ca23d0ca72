from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tailrace.cli.options import ONE_TRY
from tailrace.v1 import evaluation_pb2, run_pb2

SPEC = """
dataset: golden-v2
model: {preset: gpt2-nano}
train:
  max_steps: 400
"""


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(SPEC)
    return path


def test_create_prints_the_name(served: Any, plane: Any, run_file: Path) -> None:
    result = served("runs", "create", "-f", run_file, "--id", "mine", "--set", "train.seed=7")
    assert (result.code, result.out) == (0, "runs/mine\n")
    assert plane.runs.runs["runs/mine"].spec.train.seed == 7


def test_create_as_json(served: Any, run_file: Path) -> None:
    run = served("runs", "create", "-f", run_file, "--json").json()
    assert run["state"] == "queued"
    assert run["spec"]["train"]["max_steps"] == 400


def test_wrong_fields_are_all_named_and_nothing_is_sent(
    served: Any, plane: Any, run_file: Path
) -> None:
    overrides = ["--set", "train.batch_sise=1", "--set", "train.max_steps=0"]
    result = served("runs", "create", "-f", run_file, *overrides)
    assert result.code == 2
    assert result.err.splitlines()[0] == "error: 2 fields are wrong"
    assert "train.batch_sise: is not a known key; did you mean 'batch_size'?" in result.err
    assert "train.max_steps: must be at least 1, not 0" in result.err
    assert plane.faults.calls == []


def test_validate_only(served: Any, plane: Any, run_file: Path) -> None:
    result = served("runs", "create", "-f", run_file, "--validate-only")
    assert result.code == 0
    assert "is a valid run" in result.out
    assert "infer would wait: no live worker serves pool 'gpu'" in result.out
    assert plane.faults.calls[0][1].validate_only


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (run_pb2.RUN_STATE_SUCCEEDED, 0),
        (run_pb2.RUN_STATE_FAILED, 1),
        (run_pb2.RUN_STATE_CANCELLED, 7),
    ],
)
def test_following_ends_with_the_runs_own_code(
    served: Any, plane: Any, run_file: Path, state: Any, code: int
) -> None:
    plane.runs.states[-1] = state
    plane.runs.end_state = state
    result = served("runs", "create", "-f", run_file, "--follow")
    assert result.code == code
    assert [line for line in result.out.splitlines() if "INFO" in line] == [
        line for line in result.out.splitlines() if " line " in line
    ]
    assert sum(" line " in line for line in result.out.splitlines()) == 20


@pytest.mark.parametrize("outcome", ["PASSED", "FAILED", "ERROR"])
def test_a_gate_that_does_not_hold_has_its_own_code(
    served: Any, plane: Any, run_file: Path, outcome: str
) -> None:
    served("runs", "create", "-f", run_file, "--id", "mine")
    run = plane.runs.runs["runs/mine"]
    run.gates.add(name="bar", outcome=f"GATE_OUTCOME_{outcome}", reason="score 0.4 and a bar")
    plane.runs.states = [run_pb2.RUN_STATE_RUNNING]
    assert served("runs", "get", "mine", "--exit-code").code == 4
    run.state = run_pb2.RUN_STATE_SUCCEEDED
    code = 0 if outcome == "PASSED" else 9
    result = served("runs", "get", "mine", "--exit-code")
    assert result.code == code
    assert f"bar   {outcome.lower()}" in result.out
    assert "score 0.4 and a bar" in result.out
    assert served("runs", "get", "mine").code == 0
    assert served("runs", "watch", "mine").code == code


def test_a_reused_stage_names_its_source(served: Any, plane: Any, run_file: Path) -> None:
    served("runs", "create", "-f", run_file, "--id", "mine")
    stage = plane.runs.runs["runs/mine"].stages.add(id="train")
    stage.state, stage.cached_from = run_pb2.STAGE_STATE_SKIPPED, "runs/a/stages/train"
    out = served("runs", "get", "mine").out
    assert "SKIPPED" in out
    assert "train reuses: runs/a/stages/train" in out


def test_lift_is_shown_beside_the_scores(served: Any, plane: Any, run_file: Path) -> None:
    served("runs", "create", "-f", run_file, "--id", "mine")
    judge = plane.runs.runs["runs/mine"].stages.add(id="judge").result.judge
    for role in ("TRAINED", "BASE"):
        judge.scores.add(judge="j", eval_set="s", model_role=f"MODEL_ROLE_{role}", total=4)
    lift = judge.comparisons.add(judge="j", eval_set="s", kind="COMPARISON_KIND_LIFT")
    lift.wins, lift.losses, lift.ties = 3, 1, 0
    lift.difference, lift.low, lift.high, lift.p_value = 0.5, -0.1, 0.9, 0.625
    out = served("runs", "get", "mine").out
    assert "j s trained:" in out
    assert "j s base:" in out
    assert "+0.500 (95%: -0.100 to +0.900), 3 wins, 1 losses, 0 ties, p 0.625" in out


def test_following_as_json_keeps_stdout_for_programs(served: Any, run_file: Path) -> None:
    result = served("runs", "create", "-f", run_file, "--follow", "--json")
    assert result.json()["state"] == "succeeded"
    assert "line 20" in result.err


def test_watch_as_json_lines(served: Any) -> None:
    result = served("runs", "watch", "demo", "--json")
    assert [run["revision"] for run in result.json_lines()] == [1, 2, 3]
    assert result.code == 0


def test_get_shows_stages_scores_and_errors(served: Any, plane: Any, run_file: Path) -> None:
    served("runs", "create", "-f", run_file, "--id", "mine")
    run = plane.runs.runs["runs/mine"]
    score = evaluation_pb2.JudgeScore(
        judge="answer_correctness", eval_set="dataset:train", passed=53, total=54, errors=1
    )
    score.score, score.interval_low, score.interval_high = 53 / 54, 0.902, 0.997
    judge = run.stages.add(id="judge", state=run_pb2.STAGE_STATE_SUCCEEDED, pool="cpu")
    judge.result.judge.scores.append(score)
    run.stages.add(id="more", pool="gpu", waiting_reason="no live worker serves pool 'gpu'")
    run.error.message = "killed\x1b[2J"
    run.error.signal = "SIGKILL"
    run.error.log_tail.append("the last line")
    out = served("runs", "get", "mine").out
    assert "53/54 = 0.981 (95%: 0.902-0.997), 1 errors" in out
    assert "no live worker serves pool 'gpu'" in out
    assert "killed\\x1b[2J" in out
    assert "\x1b" not in out
    assert "SIGKILL" in out
    assert "  | the last line" in out


def test_get_shows_what_stands_beside_a_score(served: Any, plane: Any, run_file: Path) -> None:
    served("runs", "create", "-f", run_file, "--id", "mine")
    run = plane.runs.runs["runs/mine"]
    train = run.stages.add(id="train").result.train
    train.steps, train.first_loss, train.last_loss = 40, 5.5, 0.5
    assert "overlong" not in served("runs", "get", "mine").out
    train.overlong = 3
    judge = run.stages.add(id="judge").result.judge
    score = judge.scores.add(judge="j", eval_set="s", passed=6, total=10, errors=2, leaked=4)
    score.score, score.interval_low, score.interval_high = 0.6, 0.31, 0.83
    score.error_low, score.error_high, score.majority_score = 0.25, 0.86, 0.7
    for k, value in ((1, 0.6), (2, 0.75), (4, 0.9)):
        score.pass_at_k.add(k=k, value=value)
    lift = judge.comparisons.add(judge="j", eval_set="s", kind="COMPARISON_KIND_LIFT", wins=5)
    lift.losses, lift.ties, lift.difference, lift.low, lift.high = 1, 4, 0.4, 0.05, 0.75
    lift.p_value = 0.21875
    lines = [" ".join(line.split()) for line in served("runs", "get", "mine").out.splitlines()]
    assert "overlong: 3 examples truncated or dropped for their length" in lines
    beside = "2 errors (0.250-0.860 if they were fails or passes), majority 0.700, pass@4 0.900"
    assert f"j s: 6/10 = 0.600 (95%: 0.310-0.830), {beside}, 4 items trained on" in lines
    counts = "5 wins, 1 losses, 4 ties"
    assert f"j s lift: +0.400 (95%: +0.050 to +0.750), {counts}, p 0.219" in lines


def test_list_builds_its_filter_and_shows_every_column(
    served: Any, plane: Any, run_file: Path
) -> None:
    served("runs", "create", "-f", run_file, "--id", "a" * 60)
    result = served("runs", "list", "--state", "running", "--filter", 'labels.a = "b"')
    assert "a" * 60 in result.out
    request = next(r for method, r in plane.faults.calls if method == "ListRuns")
    assert request.filter == 'state = RUNNING AND labels.a = "b"'
    assert [run["name"] for run in served("runs", "list", "--json").json()] == ["runs/" + "a" * 60]


def test_logs_every_line_once_across_broken_streams(served: Any, plane: Any) -> None:
    plane.faults.break_after["StreamLogs"] = [1, 0, 2]
    lines = served("runs", "logs", "demo", "--follow", "--level", "warning", "--json").json_lines()
    assert [line["text"] for line in lines] == plane.runs.log
    assert {line["level"] for line in lines} == {"info"}
    first = next(r for method, r in plane.faults.calls if method == "StreamLogs")
    assert first.follow
    assert first.min_level == run_pb2.LOG_LEVEL_WARNING


def test_metrics_predictions_verdicts(served: Any) -> None:
    points = served("runs", "metrics", "demo", "--name", "loss", "--json").json_lines()
    assert [point["step"] for point in points] == [1, 2, 3, 4, 5]
    assert served("runs", "predictions", "demo", "--json").json()[0]["text"] == "Answer: 2"
    assert "What is 1 + 1?" in served("runs", "predictions", "demo").out
    assert "pass" in served("runs", "verdicts", "demo", "--outcome", "pass").out


def test_predictions_show_thinking_beside_the_answer(served: Any, plane: Any) -> None:
    first = plane.runs.predictions[0]
    assert "REASONING" not in served("runs", "predictions", "demo").out
    first.text = "<think>One more.</think>Two"
    first.reasoning, first.answer, first.thinking_closed = "One more.", "Two", True
    listed = served("runs", "predictions", "demo").out
    assert re.search(r"ITEM +PROMPT +REASONING +ANSWER +ENDED BY", listed)
    assert re.search(r"One more\. +Two", listed)
    assert "<think>" not in listed
    (shown, *_) = served("runs", "predictions", "demo", "--json").json()
    assert (shown["reasoning"], shown["answer"], shown["thinking_closed"]) == (
        "One more.",
        "Two",
        True,
    )
    first.answer, first.thinking_closed = "", False
    assert "One more. (the thinking never ends)" in served("runs", "predictions", "demo").out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["runs", "get", "nope"], 3, "error: there is no runs/nope\n  reason: RUN_NOT_FOUND\n"),
        (["runs", "cancel", "demo"], 4, "reason: RUN_TERMINAL"),
        (["runs", "create", "-f", "none.yaml"], 2, "No such file"),
        (["runs", "get"], 2, "Missing argument"),
        (["runs", "logs", "demo", "--level", "loud"], 2, "--level"),
        (["runs", "get", "x", "--server", "http://h:1"], 2, "host:port"),
    ],
)
def test_errors_are_one_readable_block(
    served: Any, arguments: list[str], code: int, message: str
) -> None:
    result = served(*arguments)
    assert result.code == code
    assert message in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


def test_no_answer(tailrace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace.cli.options.RETRY", ONE_TRY)
    result = tailrace("runs", "list", "--server", "127.0.0.1:1")
    assert result.code == 5
    assert "tailrace up" in result.err


def test_labels_become_conditions_of_the_filter(served: Any, plane: Any) -> None:
    arguments = ["--state", "running", "--label", "team=x", "--label", "by=a=b"]
    assert served("runs", "list", *arguments, "--filter", 'create_time < "2026"').code == 0
    assert plane.faults.calls[-1][1].filter == (
        'state = RUNNING AND labels.team = "x" AND labels.by = "a=b" AND create_time < "2026"'
    )
    assert "NAME=VALUE" in served("runs", "list", "--label", "team").err


def test_scores_of_several_models_are_labelled_in_lists(
    served: Any, plane: Any, run_file: Path
) -> None:
    served("runs", "create", "-f", run_file, "--id", "mine")
    judge = plane.runs.runs["runs/mine"].stages.add(id="judge").result.judge
    judge.scores.add(judge="j", eval_set="s", model_role="MODEL_ROLE_TRAINED", passed=3, total=4)
    assert "  s 3/4  " in served("runs", "list").out
    judge.scores.add(judge="j", eval_set="s", model_role="MODEL_ROLE_BASE", passed=1, total=4)
    assert "s trained 3/4; s base 1/4" in served("runs", "list").out
    judge.scores.add(judge="k", eval_set="s", model_role="MODEL_ROLE_BASE", passed=2, total=4)
    assert "j s trained 3/4; j s base 1/4; k s base 2/4" in served("runs", "list").out


def test_follow_is_watch_by_another_name(served: Any) -> None:
    assert served("runs", "follow", "demo", "--json").code == 0
    assert "follow" not in served("runs", "--help").out.partition("Commands")[2].split()


@pytest.mark.parametrize("command", ["logs", "metrics"])
def test_the_short_form_of_follow_is_refused(served: Any, plane: Any, command: str) -> None:
    refusal = served("runs", command, "demo", "-f")
    assert refusal.code == 2
    assert "give --follow" in refusal.err
    assert plane.faults.calls == []
