"""``tailrace workers``: the fleet as operators see it."""

from __future__ import annotations

from typing import Annotated

import typer

from tailrace.cli.options import Json, Limit, Server, connect
from tailrace.cli.show import output
from tailrace.protomap import enum_word
from tailrace.v1 import worker_pb2

app = typer.Typer(help="The fleet.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="WORKER", help="Name of the worker.")]


@app.command("list")
def list_(
    everyone: Annotated[
        bool, typer.Option("--all", help="List workers that have been offline for long, too.")
    ] = False,
    limit: Limit = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List workers with their slots."""
    with connect(server) as client:
        found = list(client.list_workers(limit=limit, everyone=everyone))
    if as_json:
        output.print_messages(found)
        return
    rows = [
        (
            w.name.removeprefix("workers/"),
            _state(w),
            w.hostname,
            ",".join(w.pools),
            f"{sum(bool(slot.stage) for slot in w.slots)}/{len(w.slots)}",
            " ".join(_use(slot) for slot in w.slots if slot.stage or slot.quarantine),
            output.moment(w.heartbeat_time),
        )
        for w in found
    ]
    output.print_table(
        ["WORKER", "STATE", "HOST", "POOLS", "BUSY", "STAGES", "LAST HEARTBEAT"], rows
    )


@app.command("get")
def get(worker: Name, server: Server = None, as_json: Json = False) -> None:
    """Show a worker, its slots and versions."""
    with connect(server) as client:
        _print(client.get_worker(worker), as_json)


@app.command("drain")
def drain(worker: Name, server: Server = None, as_json: Json = False) -> None:
    """Let a worker finish what it runs and take no more; it then ends.

    A worker that is started again under its name takes no stage until it is undrained.
    """
    with connect(server) as client:
        _print(client.drain_worker(worker), as_json)


@app.command("undrain")
def undrain(worker: Name, server: Server = None, as_json: Json = False) -> None:
    """Let a drained worker take stages again.

    It does so at once if it was started again since it was drained, else with its next start.
    """
    with connect(server) as client:
        _print(client.undrain_worker(worker), as_json)


@app.command("forget")
def forget(worker: Name, server: Server = None) -> None:
    """Remove a worker that is offline from the lists, with its drain."""
    with connect(server) as client:
        client.forget_worker(worker)


def _print(worker: worker_pb2.Worker, as_json: bool) -> None:
    if as_json:
        output.print_json(output.plain(worker))
        return
    output.print_fields(
        [
            ("worker", worker.name),
            ("state", _state(worker)),
            *([("broker", worker.broker_error)] if _is_cut_off(worker) else []),
            ("host", worker.hostname),
            ("pools", ", ".join(worker.pools)),
            *((f"slot {slot.id}", _use(slot) or "idle") for slot in worker.slots),
            ("versions", ", ".join(f"{k} {v}" for k, v in sorted(worker.versions.items()))),
            ("registered", output.moment(worker.register_time)),
            ("last heartbeat", output.moment(worker.heartbeat_time)),
        ]
    )


def _state(worker: worker_pb2.Worker) -> str:
    state = enum_word(worker_pb2.WorkerState.DESCRIPTOR, worker.state).upper()
    if worker.state == worker_pb2.WORKER_STATE_OFFLINE and worker.drained:
        return f"{state}, drained"
    return f"{state}, NO BROKER" if _is_cut_off(worker) else state


def _is_cut_off(worker: worker_pb2.Worker) -> bool:
    """Return whether a live worker reports that it has no connection to the broker."""
    return bool(worker.broker_error) and worker.state != worker_pb2.WORKER_STATE_OFFLINE


def _use(slot: worker_pb2.Slot) -> str:
    return f"{slot.id} in quarantine: {slot.quarantine}" if slot.quarantine else slot.stage
