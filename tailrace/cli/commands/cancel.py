"""``tailrace runs cancel``: one run, several, or all that match a filter."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from tailrace.cli import errors, exit_codes
from tailrace.cli.errors import CommandError
from tailrace.cli.options import Json, Labels, Server, connect, label_conditions
from tailrace.cli.show import output, run_view
from tailrace.client.blocking import Client
from tailrace.errors import FailedPrecondition, TailraceError
from tailrace.v1 import run_pb2

_UNFINISHED = ("QUEUED", "RUNNING")


def cancel(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Ids, names or uids of runs.", show_default=False),
    ] = None,
    filter: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="FILTER",
            help='Unfinished runs that match, such as `create_time < "2026-01-01"`.',
        ),
    ] = "",
    labels: Labels = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Cancel unfinished runs: the named ones, or all that match --filter and --label.

    Runs that match are shown and must be confirmed first, unless --yes is given.
    """
    conditions = [*label_conditions(labels or ()), *([filter] if filter else [])]
    if bool(runs) == bool(conditions):
        raise CommandError("name runs, or select them with --filter or --label: one of the two")
    with connect(server) as client:
        if runs:
            raise typer.Exit(_cancel_named(client, runs, as_json=as_json))
        matches = _unfinished(client, conditions)
        if not as_json:
            run_view.print_runs(matches) if matches else output.console().print("no unfinished run")
        if matches and not yes:
            _confirm(len(matches), as_json=as_json)
        code, cancelled = _cancel(client, [run.name for run in matches], may_have_ended=True)
    _show(cancelled, as_json=as_json)
    raise typer.Exit(code)


def _confirm(count: int, *, as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        raise CommandError(f"cannot ask for confirmation: give --yes to cancel these {count} runs")
    if not typer.confirm(f"Cancel these {count} runs?", err=True):
        raise typer.Exit(exit_codes.INTERRUPTED)


def _unfinished(client: Client, conditions: Sequence[str]) -> list[run_pb2.Run]:
    return [
        run
        for state in _UNFINISHED
        for run in client.list_runs(filter=" AND ".join([f"state = {state}", *conditions]))
    ]


def _cancel_named(client: Client, names: Sequence[str], *, as_json: bool) -> int:
    if len(names) == 1:
        run = client.cancel_run(names[0])
        output.print_json(output.plain(run)) if as_json else _show([run], as_json=False)
        return exit_codes.OK
    code, cancelled = _cancel(client, names, may_have_ended=False)
    _show(cancelled, as_json=as_json)
    return code


def _cancel(
    client: Client, names: Sequence[str], *, may_have_ended: bool
) -> tuple[int, list[run_pb2.Run]]:
    """Cancel each run, also after a failure; return the first failure's exit code."""
    failures: list[int] = []
    cancelled = []
    for name in names:
        try:
            cancelled.append(client.cancel_run(name))
        except FailedPrecondition as error:
            if not may_have_ended:
                failures.append(errors.error(error))
        except TailraceError as error:
            failures.append(errors.error(error))
    return next(iter(failures), exit_codes.OK), cancelled


def _show(runs: Sequence[run_pb2.Run], *, as_json: bool) -> None:
    if as_json:
        output.print_messages(runs)
        return
    for run in runs:
        output.console().print(output.one_line(f"{run.name} {run_view.run_state(run)}"))
