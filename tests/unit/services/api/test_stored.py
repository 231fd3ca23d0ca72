"""Readers do not fail on what is stored: it may be of a larger or a newer release.

The clients here accept messages of 4 MiB, the default of gRPC clients.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from services.domain.content.artifact import Listing
from services.domain.event import Evaluation
from services.storage.rows import artifacts, evaluations, models
from services.storage.rows import runs as run_rows
from services.storage.rows.runs import runs
from services.storage.rows.stages import stages
from services.storage.rows.workers import workers
from tailrace.formats.listing import FileEntry
from tailrace.formats.stage_protocol import ArtifactKind
from tailrace.v1 import (
    evaluation_pb2,
    model_pb2,
    model_pb2_grpc,
    run_pb2,
    worker_pb2,
)
from tests.unit.services.api_client import ApiClient
from tests.unit.services.driver import PROJECT

LARGE = 5_000_000


async def change(api: ApiClient, statement: sa.Update) -> None:
    async with api.plane.context.database.write() as conn:
        await conn.execute(statement)


async def pages(method: Any, request: Any, field: str) -> list[list[Any]]:
    """The pages of a listing."""
    pages = []
    while True:
        response = await method(request)
        pages.append(list(getattr(response, field)))
        request.page_token = response.next_page_token
        if not request.page_token:
            return pages


async def test_a_run_too_large_for_a_message_is_shown_shortened(api: ApiClient) -> None:
    for name in ("a", "b", "c"):
        await api.create(name)
    values = ["x" * 1000] * (LARGE // 1000)
    judges = [{"name": "contains", "contains": {"values": values}}]
    spec = {"judges": judges, "labels": {"note": "é" * LARGE}}
    await change(api, sa.update(runs).where(runs.c.run_id == "b").values(spec=spec))
    got = await api.runs.GetRun(run_pb2.GetRunRequest(name="runs/b"))
    assert got.spec.labels["note"].endswith("…")
    assert 0 < len(got.spec.judges[0].contains.values) < len(values)
    assert got.resolved_spec.dataset == "golden-v2@1"
    listed = await pages(api.runs.ListRuns, run_pb2.ListRunsRequest(), "runs")
    assert [run.name for page in listed for run in page] == ["runs/c", "runs/b", "runs/a"]
    watched = await api.runs.WatchRun(run_pb2.WatchRunRequest(name="runs/b")).read()
    assert watched.run.name == "runs/b"


async def test_pages_end_below_what_clients_take(api: ApiClient) -> None:
    # Three bytes a character, and numbers that take two characters and eleven bytes.
    label = {"note": "語" * 200_000}
    schema = {"name": "json_schema", "json_schema": {"schema": {"enum": [1] * 60_000}}}
    spec = {"labels": label, "judges": [schema]}
    for number in range(6):
        await api.create(f"r{number}")
    await change(api, sa.update(runs).values(spec=spec))
    listed = await pages(api.runs.ListRuns, run_pb2.ListRunsRequest(), "runs")
    assert len(listed) > 1
    runs_of_pages = [run for page in listed for run in page]
    assert len(runs_of_pages) == 6
    assert {len(run.spec.labels["note"]) for run in runs_of_pages} == {200_000}


async def test_results_and_errors_count_in_a_page(api: ApiClient) -> None:
    for number in range(6):
        await api.create(f"r{number}")
    groups = [{"by": "category", "value": "語" * 200} for _ in range(1500)]
    result = {"judge": {"scores": [{"judge": "j", "groups": groups}]}}
    await change(api, sa.update(stages).values(result=result))
    listed = await pages(api.runs.ListRuns, run_pb2.ListRunsRequest(), "runs")
    assert sum(map(len, listed)) == 6
    assert len(listed) > 1


async def test_what_a_newer_release_stored_is_shown_as_unspecified(api: ApiClient) -> None:
    await api.register()
    run = await api.create("a")
    group = {"by": "9", "value": "v", "color": "red"}
    comparison = {"kind": "4711", "test": "sign", "judge": "j", "wins": "many"}
    score = {"judge": "j", "model_role": "trained", "groups": [group]}
    result = {"judge": {"scores": [score], "comparisons": [comparison]}, "distill": {"steps": 1}}
    of_judge = sa.update(stages).where(stages.c.stage_id == "judge")
    await change(api, of_judge.values(result=result))
    slots = [{"id": "npu-0", "accelerator": "7", "tiles": [1]}, {"id": "x", "cores": [2**40]}]
    await change(api, sa.update(workers).values(slots=slots))
    gate = {"name": "g", "outcome": "postponed", "reason": "r"}
    await change(api, sa.update(runs).values(gates=[gate]))
    got = await api.runs.GetRun(run_pb2.GetRunRequest(name="runs/a"))
    judge_result = got.stages[2].result.judge
    assert judge_result.scores[0].groups[0].value == "v"
    assert judge_result.scores[0].groups[0].by == evaluation_pb2.GROUP_KEY_UNSPECIFIED
    assert judge_result.scores[0].model_role == evaluation_pb2.MODEL_ROLE_TRAINED
    assert (judge_result.comparisons[0].judge, judge_result.comparisons[0].wins) == ("j", 0)
    assert (got.gates[0].name, got.gates[0].outcome) == ("g", 0)
    assert (await api.runs.ListRuns(run_pb2.ListRunsRequest())).runs[0].uid == run.uid
    worker = (await api.fleet.ListWorkers(worker_pb2.ListWorkersRequest())).workers[0]
    assert [slot.id for slot in worker.slots] == ["npu-0", "x"]
    assert worker.slots[0].accelerator == worker_pb2.ACCELERATOR_TYPE_UNSPECIFIED


async def test_predictions_and_verdicts_of_any_size_are_listed(api: ApiClient) -> None:
    await api.create("a")
    bodies = [
        {"eval_set": "s", "example_id": f"{i:03}", "model_role": "trained", **more}
        for i, more in enumerate(
            [
                *[{"text": "語" * 100_000, "token_ids": [1] * 1000}] * 20,
                {"text": "語" * 2_000_000, "finish_reason": "77"},
                {"token_ids": [1] * 120_000, "logprobs": [-0.5] * 120_000},
            ]
        )
    ]
    async with api.plane.context.database.write() as conn:
        run = await run_rows.get(conn, PROJECT, "a")
        for body in bodies:
            key = (body["eval_set"], body["example_id"], body["model_role"], 0)
            verdict = {**body, "judge": "j", "outcome": "pass", "reason": body.pop("text", "")}
            verdict = {k: v for k, v in verdict.items() if k not in ("token_ids", "logprobs")}
            body["text"] = verdict["reason"]
            await evaluations.store(
                conn, run, 1, [Evaluation(key, body), Evaluation(key, verdict, "j")]
            )
    request = run_pb2.ListPredictionsRequest(parent="runs/a", page_size=1000)
    listed = await pages(api.runs.ListPredictions, request, "predictions")
    predictions = [prediction for page in listed for prediction in page]
    assert [p.example_id for p in predictions] == [body["example_id"] for body in bodies]
    assert predictions[20].text.endswith("…")
    assert predictions[20].finish_reason == evaluation_pb2.FINISH_REASON_UNSPECIFIED
    assert len(predictions[21].logprobs) == 120_000
    verdicts = run_pb2.ListVerdictsRequest(parent="runs/a", page_size=1000)
    listed = await pages(api.runs.ListVerdicts, verdicts, "verdicts")
    assert sum(map(len, listed)) == len(bodies)


async def test_listings_of_files_are_cut_by_bytes(api: ApiClient) -> None:
    files = [FileEntry(f"{i:04}-{'x' * 200}.bin", f"{i:064x}", 1) for i in range(4000)]
    async with api.plane.context.database.write() as conn:
        for number in range(4):
            listing = Listing.of([*files, FileEntry(f"n{number}", "0" * 64, 1)])
            artifact = await artifacts.record(conn, PROJECT, listing, ArtifactKind.MODEL)
            await models.add(conn, PROJECT, f"m{number}", "", "X", artifact)
    stub = model_pb2_grpc.ModelServiceStub(api.channel)
    listed = await pages(stub.ListModels, model_pb2.ListModelsRequest(), "models")
    assert [len(page) for page in listed] == [1, 1, 1, 1]


async def test_workers_of_many_slots_are_cut_by_bytes(api: ApiClient) -> None:
    await api.register()
    slots = [{"id": f"s{i}", "quarantine": "語" * 500} for i in range(1024)]
    await change(api, sa.update(workers).values(slots=slots))
    response = await api.fleet.ListWorkers(worker_pb2.ListWorkersRequest())
    assert len(response.workers[0].slots) == 1024
