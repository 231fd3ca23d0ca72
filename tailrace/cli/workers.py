"""``tailrace workers``: the fleet as operators see it."""

from __future__ import annotations

import typer

from tailrace.cli import output
from tailrace.cli.options import Json, Limit, Server, connect
from tailrace.protomap import enum_word
from tailrace.v1 import worker_pb2

app = typer.Typer(help="The fleet.", no_args_is_help=True)


# With a single command typer would make the group that command.
@app.callback()
def _group() -> None: ...


@app.command("list")
def list_(limit: Limit = None, server: Server = None, as_json: Json = False) -> None:
    """List workers with their slots."""
    with connect(server) as client:
        found = list(client.list_workers(limit=limit))
    if as_json:
        output.print_messages(found)
        return
    states = worker_pb2.WorkerState.DESCRIPTOR
    rows = [
        (
            w.name.removeprefix("workers/"),
            enum_word(states, w.state).upper(),
            w.hostname,
            ",".join(w.pools),
            f"{sum(bool(slot.stage) for slot in w.slots)}/{len(w.slots)}",
            " ".join(slot.stage for slot in w.slots if slot.stage),
            output.moment(w.heartbeat_time),
        )
        for w in found
    ]
    output.print_table(
        ["WORKER", "STATE", "HOST", "POOLS", "BUSY", "STAGES", "LAST HEARTBEAT"], rows
    )
