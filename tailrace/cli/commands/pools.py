"""``tailrace pools``: named classes of slots, and the stages that wait for them."""

from __future__ import annotations

import typer

from tailrace.cli.options import Json, Server, connect
from tailrace.cli.show import output
from tailrace.v1 import worker_pb2

app = typer.Typer(help="Classes of slots, and the stages that wait for them.", no_args_is_help=True)


# With a single command typer would make the group that command.
@app.callback()
def _group() -> None: ...


@app.command("list")
def list_(server: Server = None, as_json: Json = False) -> None:
    """List the pools that a worker serves or a stage waits for."""
    with connect(server) as client:
        pools = client.list_pools().pools
    if as_json:
        output.print_messages(pools)
        return
    rows = [(p.name, _workers(p), f"{p.busy_slots}/{p.slots}", p.queued_stages) for p in pools]
    output.print_table(["POOL", "WORKERS", "BUSY", "QUEUED"], rows)


def _workers(pool: worker_pb2.Pool) -> str:
    cut_off = pool.workers_without_broker
    return f"{pool.workers} ({cut_off} without broker)" if cut_off else str(pool.workers)
