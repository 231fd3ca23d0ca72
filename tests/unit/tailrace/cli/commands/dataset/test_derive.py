from __future__ import annotations

from typing import Any

import pytest

from tailrace.v1 import dataset_pb2, evaluation_pb2, run_pb2


@pytest.fixture
def judged(plane: Any) -> Any:
    """Run ``r`` with one passing and one failing sample of an item."""
    run = run_pb2.Run(name="runs/r", state=run_pb2.RUN_STATE_SUCCEEDED)
    run.resolved_spec.judges.add(name="contains")
    plane.runs.runs["runs/r"] = run
    plane.runs.predictions, plane.runs.verdicts = [], []
    outcomes = (evaluation_pb2.OUTCOME_PASS, evaluation_pb2.OUTCOME_FAIL)
    for sample, outcome in enumerate(outcomes):
        key = {"eval_set": "eval_v1", "example_id": "a", "sample": sample}
        key["model_role"] = evaluation_pb2.MODEL_ROLE_TRAINED
        text = f"text {sample}"
        plane.runs.predictions.append(evaluation_pb2.Prediction(prompt="q", text=text, **key))
        verdict = evaluation_pb2.Verdict(judge="contains", version="2", outcome=outcome, **key)
        plane.runs.verdicts.append(verdict)
    return plane


def imported(plane: Any) -> dataset_pb2.ImportDatasetHeader:
    (header,) = [request.header for name, request in plane.faults.calls if name == "ImportDataset"]
    return header


def test_passing_predictions_are_imported_with_their_lineage(served: Any, judged: Any) -> None:
    document = served("datasets", "derive", "--from", "r", "--id", "good", "--json").json()
    assert document["dataset"]["name"] == "datasets/good@1"
    assert (document["predictions"], document["selected"], document["duplicates"]) == (2, 1, 0)
    assert b'"completion":"text 0"' in judged.datasets.content["good"]
    assert imported(judged) == dataset_pb2.ImportDatasetHeader(
        dataset_id="good",
        kind=dataset_pb2.DATASET_KIND_COMPLETION,
        lineage=dataset_pb2.DatasetLineage(
            run="runs/r", judge="contains", judge_version="2", where="outcome = pass"
        ),
    )


def test_pairs_are_imported_as_preferences(served: Any, judged: Any) -> None:
    options = ["--id", "pairs", "--kind", "preference", "--where", "outcome = pass"]
    result = served("datasets", "derive", "--from", "runs/r", *options)
    assert result.code == 0
    lines = result.out.splitlines()
    # The counts are aligned with the fields of the dataset.
    assert len({len(line) - len(line.partition(":")[2].lstrip()) for line in lines}) == 1
    assert lines[-1].startswith("selected:")
    assert b'"chosen":"text 0","rejected":"text 1"' in judged.datasets.content["pairs"]
    assert imported(judged).kind == dataset_pb2.DATASET_KIND_PREFERENCE


def test_an_empty_selection_imports_nothing(served: Any, judged: Any) -> None:
    refusal = served("datasets", "derive", "--from", "r", "--id", "d", "--where", "outcome = error")
    assert refusal.code == 2
    assert "no prediction with text meets 'outcome = error': 2 predictions" in refusal.err
    assert judged.datasets.content == {}


def test_an_unknown_run(served: Any) -> None:
    assert served("datasets", "derive", "--from", "r", "--id", "d").code == 3


def test_get_shows_the_lineage(served: Any, plane: Any, monkeypatch: Any) -> None:
    lineage = dataset_pb2.DatasetLineage(
        run="runs/r", judge="contains", judge_version="2", where="outcome = pass"
    )
    dataset = dataset_pb2.Dataset(name="datasets/d@1", lineage=lineage)
    monkeypatch.setattr(plane.datasets, "_dataset", lambda name: dataset)
    shown = served("datasets", "get", "d").out
    assert [line.split(maxsplit=1) for line in shown.splitlines()[-3:]] == [
        ["run:", "runs/r"],
        ["judge:", "contains, version 2"],
        ["where:", "outcome = pass"],
    ]
