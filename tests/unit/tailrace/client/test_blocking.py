"""Both clients, by the same tests: what they do is one thing (see ``connect`` in conftest)."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tailrace import SpecError, errors
from tailrace.retry import RetryPolicy
from tailrace.v1 import run_pb2

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def client(connect: Any, plane: Any, quick: RetryPolicy) -> Any:
    with connect(plane.address, retry=quick) as connected:
        yield connected


def test_create_is_repeated_under_one_request_id(client: Any, plane: Any, spec: Any) -> None:
    plane.faults.codes["CreateRun"] = [UNAVAILABLE, UNAVAILABLE]
    run = client.create_run(spec, run_id="demo")
    assert run.name == "runs/demo"
    assert run.spec.train.max_steps == 10
    ids = {request.request_id for _, request in plane.faults.calls}
    assert len(plane.faults.calls) == 3
    assert len(ids) == 1
    assert len(ids.pop()) == 36
    client.create_run(spec)
    assert len(plane.runs.runs) == 2


def test_wrong_plain_spec_names_every_field(client: Any) -> None:
    with pytest.raises(SpecError) as raised:
        client.create_run({"modle": {}, "train": {"max_steps": 0}})
    assert {v.field for v in raised.value.violations} == {"modle", "train.max_steps"}


def test_gives_up_when_nobody_answers(connect: Any) -> None:
    with (
        connect("127.0.0.1:1", retry=RetryPolicy(attempts=3, initial_wait=0.01)) as client,
        pytest.raises(errors.Unavailable),
    ):
        client.get_run("demo")


def test_other_errors_are_not_repeated(client: Any, plane: Any) -> None:
    with pytest.raises(errors.NotFound) as raised:
        client.get_run("nope")
    assert raised.value.reason == "RUN_NOT_FOUND"
    assert raised.value.metadata == {"name": "runs/nope"}
    assert str(raised.value) == "there is no runs/nope"
    assert len(plane.faults.calls) == 1


def test_every_unary_call_has_a_deadline(
    connect: Any, plane: Any, quick: RetryPolicy, spec: Any
) -> None:
    with connect(plane.address, timeout=7, retry=quick) as client:
        client.create_run(spec)
        list(client.list_runs())
    # gRPC sends deadlines rounded up a little.
    assert [round(left or 0) for left in plane.faults.deadlines] == [7, 7]


def test_lists_all_pages_and_stops_at_the_limit(client: Any, plane: Any, spec: Any) -> None:
    for n in range(5):
        client.create_run(spec, run_id=f"r{n}")
    assert [run.name for run in client.list_runs()] == [f"runs/r{n}" for n in range(5)]
    plane.faults.calls.clear()
    assert len(list(client.list_runs(limit=3))) == 3
    assert len(plane.faults.calls) == 2


def test_follows_logs_across_broken_streams(client: Any, plane: Any) -> None:
    plane.faults.break_after["StreamLogs"] = [0, 2, 1, 0, 3]
    batches = list(client.stream_logs("demo", follow=True, min_level="info"))
    lines = [line for batch in batches for line in batch.lines]
    assert [line.sequence for line in lines] == list(range(1, 21))
    assert [line.text for line in lines] == plane.runs.log
    requests = [request for method, request in plane.faults.calls if method == "StreamLogs"]
    assert [request.cursor for request in requests] == ["", "", "6", "9", "9", "18"]
    assert all(
        request.follow and request.min_level == run_pb2.LOG_LEVEL_INFO for request in requests
    )


def test_a_log_that_lost_a_line_on_the_way_is_data_loss(client: Any, plane: Any) -> None:
    plane.runs.recorded = [*plane.runs.log, "never sent"]
    with pytest.raises(errors.DataLoss, match="20 of 21 lines arrived"):
        list(client.stream_logs("demo", follow=True))
    assert list(client.stream_logs("demo", contains="x"))


def test_follows_logs_across_a_server_restart(client: Any, plane: Any) -> None:
    batches = client.stream_logs("demo", follow=True)
    seen = [*next(batches).lines]
    plane.kill()
    threading.Timer(0.3, plane.start).start()
    for batch in batches:
        seen += batch.lines
    assert [line.sequence for line in seen] == list(range(1, 21))


def test_a_long_quiet_stream_that_breaks_is_opened_again(
    client: Any, connect: Any, plane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace.retry.STANDING_SECONDS", 0.2)
    broken = threading.Event()
    original = plane.faults.enter

    def enter(method: str, request: Any, context: grpc.ServicerContext) -> None:
        original(method, request, context)
        if not broken.is_set():
            # Longer than the whole time for reconnecting.
            time.sleep(0.7)
            broken.set()
            context.abort(UNAVAILABLE, "the server drains")

    monkeypatch.setattr(plane.faults, "enter", enter)
    patient = connect(plane.address, retry=RetryPolicy(initial_wait=0.01, reconnect_timeout=0.5))
    with patient:
        assert len(list(patient.watch_run("demo"))) == 3


def test_a_stream_gives_up_after_the_reconnect_timeout(connect: Any, plane: Any) -> None:
    plane.faults.codes["StreamLogs"] = [UNAVAILABLE] * 1000
    policy = RetryPolicy(initial_wait=0.01, max_wait=0.05, jitter=0.0, reconnect_timeout=0.3)
    with connect(plane.address, retry=policy) as client, pytest.raises(errors.Unavailable):
        list(client.stream_logs("demo", follow=True))


def test_watch_continues_after_the_last_revision(client: Any, plane: Any) -> None:
    plane.faults.break_after["WatchRun"] = [1, 1]
    assert [run.revision for run in client.watch_run("demo")] == [1, 2, 3]
    requests = [request for method, request in plane.faults.calls if method == "WatchRun"]
    assert [request.after_revision for request in requests] == [0, 1, 2]


def test_import_starts_over_and_keeps_every_byte(client: Any, plane: Any, tmp_path: Path) -> None:
    content = b"x" * 700_000
    (tmp_path / "d.jsonl").write_bytes(content)
    plane.faults.codes["ImportDataset"] = [UNAVAILABLE]
    assert client.import_dataset("mine", tmp_path / "d.jsonl").size_bytes == len(content)
    assert plane.datasets.content["mine"] == content


def test_import_reports_bad_lines_and_missing_files(client: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        client.import_dataset("mine", b"ok\nbad\nok\nbad\n")
    assert [v.field for v in raised.value.violations] == ["line 2", "line 4"]
    assert "line 4: bad" in str(raised.value)
    with pytest.raises(FileNotFoundError):
        client.import_dataset("mine", tmp_path / "none.jsonl")


def test_export_is_not_continued_in_the_middle(client: Any, plane: Any) -> None:
    client.import_dataset("mine", b"0123456789")
    plane.faults.codes["ExportDataset"] = [UNAVAILABLE]
    assert b"".join(client.export_dataset("mine")) == b"0123456789"
    plane.faults.break_after["ExportDataset"] = [1]
    with pytest.raises(errors.Unavailable):
        list(client.export_dataset("mine"))


def test_closing_a_stream_cancels_its_call(client: Any) -> None:
    batches = client.stream_logs("demo")
    next(batches)
    batches.close()
    assert list(batches) == []
