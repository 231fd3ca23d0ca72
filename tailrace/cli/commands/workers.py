"""``tailrace workers``: the workers of the fleet, for operators."""

from __future__ import annotations

from typing import Annotated

import typer

from tailrace.cli.options import Json, Limit, Server, connect
from tailrace.cli.show import output
from tailrace.protomap import enum_word
from tailrace.v1 import worker_pb2

app = typer.Typer(
    help="Workers: list, drain and forget them; revoke certificates.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="WORKER", help="Name of the worker.")]


@app.command("list")
def list_(
    everyone: Annotated[
        bool, typer.Option("--all", help="List long-offline workers, too.")
    ] = False,
    limit: Limit = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List workers with their slots."""
    with connect(server) as client:
        workers = list(client.list_workers(limit=limit, include_expired=everyone))
    if as_json:
        output.print_messages(workers)
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
        for w in workers
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
    """Let a worker finish its stages and take no more; it then ends.

    A worker that is started again under this name takes no stage until it is undrained.
    """
    with connect(server) as client:
        _print(client.drain_worker(worker), as_json)


@app.command("undrain")
def undrain(worker: Name, server: Server = None, as_json: Json = False) -> None:
    """Let a drained worker take stages again.

    A worker that was restarted after the drain takes them at once, any other after its next start.
    """
    with connect(server) as client:
        _print(client.undrain_worker(worker), as_json)


@app.command("forget")
def forget(worker: Name, server: Server = None) -> None:
    """Remove an offline worker from the lists; a drain of it is removed, too, and reported."""
    with connect(server) as client:
        was_drained = client.get_worker(worker).drained
        client.forget_worker(worker)
    if was_drained:
        name = worker.removeprefix("workers/")
        note = f"{name} was drained: a worker that starts under this name now takes stages at once"
        output.console(stderr=True).print(output.one_line(note), soft_wrap=True)


@app.command("revoke-certificate")
def revoke_certificate(worker: Name, server: Server = None, as_json: Json = False) -> None:
    """Refuse all certificates of a worker that were made until now.

    Their calls are refused and their streams end within 10 seconds. A certificate of
    `tailrace certs worker` that is made afterwards counts.
    """
    with connect(server) as client:
        response = client.revoke_worker_certificate(worker)
    if as_json:
        output.print_json(output.plain(response))
        return
    output.print_fields(
        [
            ("worker", f"workers/{worker.removeprefix('workers/')}"),
            ("certificates refused until", output.moment(response.revoke_time)),
        ]
    )


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
    """Return True if a live worker reports that it has no connection to the broker."""
    return bool(worker.broker_error) and worker.state != worker_pb2.WORKER_STATE_OFFLINE


def _use(slot: worker_pb2.Slot) -> str:
    return f"{slot.id} in quarantine: {slot.quarantine}" if slot.quarantine else slot.stage
