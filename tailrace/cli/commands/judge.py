"""``tailrace runs judge``: a new run that judges the predictions of another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tailrace.cli.errors import CommandError
from tailrace.cli.options import FollowRun, Json, NewRunId, RunName, Server
from tailrace.cli.submit import submit
from tailrace.client.call import resource
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.spec_file import read_file


def judge(
    run: RunName,
    judges: Annotated[
        list[str] | None,
        typer.Option("--judge", metavar="JUDGE", help="Name of a judge; repeatable."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Run file with `judges`, optionally `gates`, `execution` and `labels`.",
            show_default=False,
        ),
    ] = None,
    run_id: NewRunId = "",
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Reuse stored verdicts.")
    ] = True,
    follow_it: FollowRun = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Judge a run's predictions again, without training or inference: a new run of one stage."""
    file_keys: dict[str, Any] = read_file(file) if file is not None else {}
    named_judges = [{"name": name} for name in judges or ()]
    file_judges = file_keys.get("judges") or []
    if not named_judges and not file_judges:
        raise CommandError("name a judge: --judge JUDGE, or -f FILE with a key judges")
    all_judges = [*named_judges, *file_judges] if isinstance(file_judges, list) else file_judges
    blocks = {"predictions": resource("runs", run), "judges": all_judges}
    if not cache:
        blocks["cache"] = False
    spec = parse(RunSpec, {**file_keys, **blocks})
    submit(spec, run_id, server, follow_it=follow_it, as_json=as_json)
