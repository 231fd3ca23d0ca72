"""Derivation against the twin: run ``r`` with judge ``contains``."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tailrace import Client
from tailrace.datasets.content import DatasetError
from tailrace.datasets.derivation.derive import Derivation, Pairs, Selection, derive
from tailrace.formats.data.dataset_file import parse_dataset
from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.data.record import DatasetKind
from tailrace.v1 import evaluation_pb2, run_pb2

OUTCOMES = {
    "pass": (evaluation_pb2.OUTCOME_PASS, 1.0),
    "fail": (evaluation_pb2.OUTCOME_FAIL, 0.0),
    "error": (evaluation_pb2.OUTCOME_ERROR, None),
}


class Judged:
    """Predictions and verdicts of the twin's run."""

    def __init__(self, plane: Any) -> None:
        self.plane = plane
        self.run = run_pb2.Run(name="runs/r", state=run_pb2.RUN_STATE_SUCCEEDED)
        self.run.resolved_spec.judges.add(name="contains")
        self.run.resolved_spec.dataset = "d@1"
        plane.runs.runs["runs/r"] = self.run
        plane.runs.predictions, plane.runs.verdicts = [], []

    def add(self, item: str, text: str, outcome: str, **fields: Any) -> None:
        names = {"eval_set": "eval_v1", "model_role": evaluation_pb2.MODEL_ROLE_TRAINED}
        key = {"example_id": item, **names, **fields}
        word, score = OUTCOMES[outcome]
        prediction = evaluation_pb2.Prediction(prompt=f"{item}?", text=text, **key)
        verdict = evaluation_pb2.Verdict(
            judge="contains", version="2", outcome=word, score=score, **key
        )
        self.plane.runs.predictions.append(prediction)
        self.plane.runs.verdicts.append(verdict)

    def derive(self, **selection: Any) -> tuple[Derivation, list[Any]]:
        target = io.BytesIO()
        with Client(self.plane.address) as client:
            derivation = derive(client, Selection("r", **selection), target)
        lines = target.getvalue().splitlines(keepends=True)
        parse_dataset(lines, derivation.kind)
        return derivation, [json.loads(line) for line in lines]


@pytest.fixture
def judged(plane: Any) -> Judged:
    return Judged(plane)


PREFERENCE = {"kind": DatasetKind.PREFERENCE}


def test_passing_predictions_become_completions_with_their_source(judged: Judged) -> None:
    judged.add("a", "<think>1</think>Answer: 2", "pass")
    judged.add("b", "wrong", "fail")
    derivation, lines = judged.derive()
    source = {"eval_set": "eval_v1", "example_id": "a", "sample": 0, "score": 1.0}
    assert lines == [
        {"prompt": "a?", "completion": "<think>1</think>Answer: 2", "metadata": source}
    ]
    assert (derivation.predictions, derivation.selected) == (2, 1)
    assert derivation.lineage == {
        "run": "runs/r",
        "judge": "contains",
        "judge_version": "2",
        "where": "outcome = pass",
    }


def test_equal_answers_to_a_prompt_are_one_record(judged: Judged) -> None:
    for sample in range(3):
        judged.add("a", "same", "pass", sample=sample)
    derivation, lines = judged.derive()
    assert len(lines) == derivation.records == 1
    assert derivation.duplicates == 2


def test_only_the_chosen_role_counts(judged: Judged) -> None:
    judged.add("a", "base", "pass", model_role=evaluation_pb2.MODEL_ROLE_BASE)
    judged.add("a", "trained", "pass")
    assert [line["completion"] for line in judged.derive()[1]] == ["trained"]
    assert [line["completion"] for line in judged.derive(role=ModelRole.BASE)[1]] == ["base"]


def test_a_preference_pairs_a_passing_with_a_failing_sample_of_a_prompt(judged: Judged) -> None:
    for sample, (text, outcome) in enumerate(
        [("bad", "fail"), ("lost", "error"), ("good", "pass"), ("better", "pass"), ("ill", "fail")]
    ):
        judged.add("a", text, outcome, sample=sample)
    judged.add("b", "good", "pass")
    judged.add("c", "bad", "fail")
    _, lines = judged.derive(**PREFERENCE)
    assert [(line["chosen"], line["rejected"]) for line in lines] == [("good", "bad")]
    assert lines[0]["metadata"] == {
        "eval_set": "eval_v1",
        "example_id": "a",
        "chosen_sample": 2,
        "chosen_score": 1.0,
        "rejected_sample": 0,
        "rejected_score": 0.0,
    }
    _, lines = judged.derive(**PREFERENCE, pairs=Pairs.ALL)
    pairs = {(line["chosen"], line["rejected"]) for line in lines}
    assert pairs == {(good, bad) for good in ("good", "better") for bad in ("bad", "ill")}


def test_a_pair_of_equal_texts_is_passed_over(judged: Judged) -> None:
    for sample, (text, outcome) in enumerate([("x", "pass"), ("x", "fail"), ("y", "fail")]):
        judged.add("a", text, outcome, sample=sample)
    assert [line["rejected"] for line in judged.derive(**PREFERENCE)[1]] == ["y"]


def test_a_prediction_without_text_is_never_selected(judged: Judged) -> None:
    judged.add("a", " \n", "pass")
    judged.add("b", "text", "pass")
    assert [line["prompt"] for line in judged.derive()[1]] == ["b?"]


CALL = [{"type": "function", "function": {"name": "add"}}]
TALK = [{"role": "system", "content": "Sum."}, {"role": "user", "content": "1 + 1"}]


def test_the_messages_of_an_imported_eval_set_become_the_prompt(judged: Judged) -> None:
    items = [{"id": "a", "messages": TALK, "tools": CALL}, {"id": "b", "prompt": "whole b?"}]
    content = "".join(json.dumps(item) + "\n" for item in items).encode()
    plane = judged.plane
    plane.eval_sets.content["talks"] = content
    plane.artifacts.add(0, {"eval_set.jsonl": content})
    plane.eval_sets.artifact = plane.artifacts.artifacts[0].name
    judged.add("a", "2", "pass", eval_set="talks@1")
    judged.add("b", "3", "pass", eval_set="talks@1")
    _, (first, second) = judged.derive()
    assert (first["prompt"], first["tools"]) == (TALK, CALL)
    assert first["completion"] == [{"role": "assistant", "content": "2"}]
    assert (second["prompt"], second["completion"]) == ("b?", "3")


def test_the_messages_of_the_runs_own_dataset_become_the_prompt(judged: Judged) -> None:
    answer = {"role": "assistant", "content": "2"}
    record = json.dumps({"messages": [*TALK, answer], "tools": CALL}).encode()
    judged.plane.datasets.content["d"] = record + b"\n" + record + b"\n"
    judged.add("messages-000002", "two", "pass", eval_set="dataset:held_out")
    _, (line,) = judged.derive()
    assert (line["prompt"], line["tools"]) == (TALK, CALL)
    assert line["completion"] == [{"role": "assistant", "content": "two"}]


def test_a_missing_item_is_refused(judged: Judged) -> None:
    judged.plane.datasets.content["d"] = b'{"prompt": "q", "completion": "a", "id": "x"}\n'
    judged.add("gone", "two", "pass", eval_set="dataset:train")
    with pytest.raises(DatasetError, match=r"dataset:train has no item 'gone' \(1 of the selected"):
        judged.derive()


@pytest.mark.parametrize(
    ("selection", "complaint"),
    [
        ({"judge": "regex"}, "'regex' is not a judge of runs/r: must be contains"),
        ({"where": "x" * 100_000}, "x…' is wrong: at character 100001: ends in the middle"),
        ({"where": "outcome = good"}, "'outcome = good' is wrong: at character 1: outcome must be"),
        ({"kind": DatasetKind.FEEDBACK}, "must be of the kind completion or preference, not feed"),
        ({"role": ModelRole.BASE}, "has no verdict of contains on the base model: change --judge"),
        (
            {"where": "score > 0.5"},
            "no prediction with text meets 'score > 0.5': 2 predictions of the trained model are "
            "judged by contains (0 pass, 2 fail, 0 error); change --where",
        ),
        (
            {"where": "outcome = fail", **PREFERENCE},
            "no prompt has both a sample that meets 'outcome = fail' and another answer that does "
            "not: of 2 prompts 2 have only the first and 0 only the second",
        ),
    ],
)
def test_an_empty_or_wrong_selection_is_refused(
    judged: Judged, selection: Any, complaint: str
) -> None:
    judged.add("a", "bad", "fail")
    judged.add("b", "bad", "fail")
    with pytest.raises(DatasetError) as refused:
        judged.derive(**selection)
    assert complaint in str(refused.value)


def test_a_run_must_have_ended(judged: Judged) -> None:
    judged.add("a", "good", "pass")
    judged.run.state = run_pb2.RUN_STATE_RUNNING
    with pytest.raises(DatasetError, match="runs/r has not ended: `tailrace runs watch`"):
        judged.derive()


def test_a_run_needs_a_judge_that_is_named_if_there_are_several(judged: Judged) -> None:
    judged.add("a", "good", "pass")
    judged.run.resolved_spec.judges.add(name="regex")
    with pytest.raises(DatasetError, match="has the judges contains, regex: choose one with"):
        judged.derive()
    assert judged.derive(judge="contains")[0].records == 1
    del judged.run.resolved_spec.judges[:]
    with pytest.raises(DatasetError, match="runs/r has no judges: judge its predictions first"):
        judged.derive()


def test_verdicts_of_two_versions_are_refused(judged: Judged) -> None:
    judged.add("a", "good", "pass")
    judged.add("b", "good", "pass")
    judged.plane.runs.verdicts[0].version = "1"
    with pytest.raises(DatasetError, match="are of the versions 1, 2, whose scores do not compare"):
        judged.derive()
