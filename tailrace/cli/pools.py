"""``tailrace pools``: classes of slots, and what waits for them."""

from __future__ import annotations

import typer

from tailrace.cli import output
from tailrace.cli.options import Json, Server, connect

app = typer.Typer(help="Pools of slots.", no_args_is_help=True)


# With a single command typer would make the group that command.
@app.callback()
def _group() -> None: ...


@app.command("list")
def list_(server: Server = None, as_json: Json = False) -> None:
    """List the pools that a worker serves or a stage waits for."""
    with connect(server) as client:
        found = client.list_pools().pools
    if as_json:
        output.print_messages(found)
        return
    rows = [(p.name, p.workers, f"{p.busy_slots}/{p.slots}", p.queued_stages) for p in found]
    output.print_table(["POOL", "WORKERS", "BUSY", "QUEUED"], rows)
