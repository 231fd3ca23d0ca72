"""``tailrace runs judge``: judge the predictions of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tailrace.cli.errors import CommandError
from tailrace.cli.options import Json, RunName, Server
from tailrace.cli.submit import submit
from tailrace.client.call import resource
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.spec_file import read_file


def judge(
    run: RunName,
    judges: Annotated[
        list[str] | None,
        typer.Option("--judge", metavar="NAME", help="A judge; may be repeated."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            help="YAML or JSON with `judges`, and `gates`, `execution` or `labels` if wanted.",
            show_default=False,
        ),
    ] = None,
    run_id: Annotated[str, typer.Option("--id", help="Id of the new run; else chosen.")] = "",
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Reuse verdicts that are known.")
    ] = True,
    follow_it: Annotated[
        bool, typer.Option("--follow", help="Show it until it has ended.")
    ] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Judge a run's predictions again, without training or inferring: a new run of one stage."""
    data: dict[str, Any] = read_file(file) if file is not None else {}
    named = [{"name": name} for name in judges or ()]
    if not named and not data.get("judges"):
        raise CommandError("name a judge: --judge NAME, or -f FILE with a key judges")
    given = data.get("judges") or []
    merged = [*named, *given] if isinstance(given, list) else given
    blocks = {"predictions": resource("runs", run), "judges": merged}
    if not cache:
        blocks["cache"] = False
    spec = parse(RunSpec, {**data, **blocks})
    submit(spec, run_id, server, follow_it=follow_it, as_json=as_json)
