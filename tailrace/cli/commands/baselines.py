"""``tailrace baselines``: names for runs with which others are compared."""

from __future__ import annotations

from typing import Annotated

import typer

from tailrace.cli.options import Description, Json, Limit, RunName, Server, connect
from tailrace.cli.show import output
from tailrace.v1 import baseline_pb2

app = typer.Typer(help="Names for runs with which others are compared.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(metavar="BASELINE", help="Id or name (`baselines/…`) of the baseline.")
]


@app.command("set")
def set_(
    name: Name,
    run: RunName,
    description: Description = "",
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Give a run that has succeeded a name, or move the name to another run."""
    with connect(server) as client:
        _print(client.set_baseline(name, run, description=description), as_json)


@app.command("list")
def list_(limit: Limit = None, server: Server = None, as_json: Json = False) -> None:
    """List baselines, by name."""
    with connect(server) as client:
        baselines = list(client.list_baselines(limit=limit))
    if as_json:
        output.print_messages(baselines)
        return
    rows = [(b.name, b.run, output.moment(b.update_time), b.description) for b in baselines]
    output.print_table(["BASELINE", "RUN", "SINCE", "DESCRIPTION"], rows, text=("DESCRIPTION",))


@app.command("get")
def get(name: Name, server: Server = None, as_json: Json = False) -> None:
    """Show a baseline."""
    with connect(server) as client:
        _print(client.get_baseline(name), as_json)


@app.command("delete")
def delete(name: Name, server: Server = None) -> None:
    """Delete a baseline; its run stays."""
    with connect(server) as client:
        client.delete_baseline(name)


def _print(baseline: baseline_pb2.Baseline, as_json: bool) -> None:
    if as_json:
        output.print_json(output.plain(baseline))
        return
    output.print_fields(
        [
            ("baseline", baseline.name),
            ("run", baseline.run),
            ("description", baseline.description),
            ("created", output.moment(baseline.create_time)),
            ("since", output.moment(baseline.update_time)),
        ]
    )
