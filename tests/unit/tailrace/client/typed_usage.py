"""A method of each kind of call, for type checkers: ``mypy`` fails if one has another type.

All methods get their types from the same descriptor, so one of each kind stands for the others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from tailrace import AsyncClient, AsyncRunHandle, Client, RunHandle
from tailrace.v1 import artifact_pb2, dataset_pb2, model_pb2, run_pb2


def use_client(client: Client) -> None:
    assert_type(client.get_run("demo"), run_pb2.Run)
    assert_type(Client.get_run(client, "demo"), run_pb2.Run)
    assert_type(client.list_runs(filter="state = RUNNING", limit=3), Iterator[run_pb2.Run])
    assert_type(client.watch_run("demo", after_revision=1), Iterator[run_pb2.Run])
    assert_type(client.import_dataset("mine", b"{}"), dataset_pb2.Dataset)
    assert_type(client.import_model("folder", description="Mine."), model_pb2.Model)
    assert_type(client.run("demo"), RunHandle)
    client.get_run(3)  # type: ignore[arg-type]
    client.list_runs(page=3)  # type: ignore[call-arg]


async def use_async_client(client: AsyncClient) -> None:
    assert_type(await client.get_run("demo"), run_pb2.Run)
    assert_type(await AsyncClient.get_run(client, "demo"), run_pb2.Run)
    assert_type(client.list_runs(filter="state = RUNNING", limit=3), AsyncIterator[run_pb2.Run])
    assert_type(client.watch_run("demo", after_revision=1), AsyncIterator[run_pb2.Run])
    assert_type(await client.import_dataset("mine", b"{}"), dataset_pb2.Dataset)
    assert_type(await client.import_model("folder", description="Mine."), model_pb2.Model)
    assert_type(client.run("demo"), AsyncRunHandle)


def use_handle(run: RunHandle) -> None:
    assert_type(run.get(), run_pb2.Run)
    assert_type(run.wait(timeout=1.5), run_pb2.Run)
    assert_type(run.logs(follow=True), Iterator[run_pb2.StreamLogsResponse])
    assert_type(run.artifacts(kind="model"), Iterator[artifact_pb2.Artifact])
    assert_type(run.download("model", "folder"), artifact_pb2.Artifact)
    run.get("demo")  # type: ignore[call-arg]


async def use_async_handle(run: AsyncRunHandle) -> None:
    assert_type(await run.get(), run_pb2.Run)
    assert_type(await run.wait(timeout=1.5), run_pb2.Run)
    assert_type(run.logs(follow=True), AsyncIterator[run_pb2.StreamLogsResponse])
    assert_type(run.artifacts(kind="model"), AsyncIterator[artifact_pb2.Artifact])
    assert_type(await run.download("model", "folder"), artifact_pb2.Artifact)
