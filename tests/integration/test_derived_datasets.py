"""Datasets made of a run's predictions, on a whole stack."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tailrace import Client
from tailrace.datasets.derivation.derive import Selection, derive
from tailrace.formats.data.golden import golden_v2
from tailrace.formats.data.split import eval_items, split_records
from tailrace.v1 import dataset_pb2
from tests.integration.follow import until_terminal
from tests.integration.specs import small, state
from tests.stack import Stack

HELD_OUT = {
    item.id: item.prompt for item in eval_items(split_records(golden_v2(), 0.2, 42).held_out)
}
TALK = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
TALK.append({"role": "user", "content": "What is 17 + 25?"})
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def derived(client: Client, **selection: Any) -> tuple[dict[str, str], list[Any]]:
    target = io.BytesIO()
    derivation = derive(client, Selection(**selection), target)
    return derivation.lineage, [json.loads(line) for line in target.getvalue().splitlines()]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_judged_predictions_become_a_dataset_with_lineage(stack: Stack) -> None:
    items = {"id": "t", "messages": TALK, "tools": TOOLS, "expected_answer": "42"}
    infer = {"eval_sets": ["dataset:held_out", "talks"], "max_new_tokens": 8}
    with stack.client() as client:
        client.import_eval_set("talks", json.dumps(items).encode())
        run = until_terminal(client, client.create_run(small(10, infer=infer)).name, 240)
        assert state(run) == "succeeded", run
        texts = {
            (prediction.eval_set, prediction.example_id): prediction.text
            for prediction in client.list_predictions(run.name)
        }
        lineage, records = derived(client, run=run.name, where="outcome = fail AND score <= 0.5")
        content = "".join(json.dumps(record) + "\n" for record in records).encode()
        client.import_dataset("fails", content, kind="completion", lineage=lineage)
        dataset = client.get_dataset("fails")

    by_item = {
        (record["metadata"]["eval_set"], record["metadata"]["example_id"]): record
        for record in records
    }
    talk = by_item.pop(("talks@1", "t"))
    assert (talk["prompt"], talk["tools"]) == (TALK, TOOLS)
    assert talk["completion"] == [{"role": "assistant", "content": texts["talks@1", "t"]}]
    # Ten steps teach nothing: nearly all answers are wrong.
    assert len(by_item) > len(HELD_OUT) / 2
    for (eval_set, item), record in by_item.items():
        assert (record["prompt"], record["completion"]) == (HELD_OUT[item], texts[eval_set, item])
    assert dataset.kind == dataset_pb2.DATASET_KIND_COMPLETION
    assert dataset.line_count == len(records)
    assert dataset.lineage == dataset_pb2.DatasetLineage(
        run=run.name,
        judge="answer_correctness",
        judge_version=lineage["judge_version"],
        where="outcome = fail AND score <= 0.5",
    )
