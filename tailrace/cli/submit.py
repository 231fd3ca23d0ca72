"""Submission and following of runs, shared by commands."""

from __future__ import annotations

import asyncio
import os

import typer

from tailrace.cli import exit_codes
from tailrace.cli.absence import Absence
from tailrace.cli.embedded.stack import DEFAULT_DATA_DIR, StackInfo
from tailrace.cli.follow import follow
from tailrace.cli.options import address, connect, connect_aio
from tailrace.cli.show import output, run_view
from tailrace.cli.show.views import view_for
from tailrace.environment import CONSOLE_VARIABLE
from tailrace.errors import Unavailable
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.v1 import run_pb2


def submit(
    spec: RunSpec, run_id: str, server: str | None, *, follow_it: bool, as_json: bool
) -> None:
    """Create a run and print its name; with ``follow_it`` show it and exit with its code."""
    with connect(server) as client:
        run = client.create_run(spec, run_id=run_id)
        page = run_page(client.server, run)
    if page:
        output.console(stderr=True).print(page, soft_wrap=True)
    if not follow_it:
        print_run(run, as_json) if as_json else output.console().print(run.name)
        return
    output.console(stderr=True).print(f"{run.name} accepted")
    raise typer.Exit(follow_run(run.name, server, as_json))


def run_page(server: str, run: run_pb2.Run) -> str:
    """Return the URL of a run in the console; empty if no console is known.

    It is that of the variable, else that of `tailrace up` in this folder for the same server.
    """
    url = os.environ.get(CONSOLE_VARIABLE, "")
    if not url:
        stack = StackInfo.read(DEFAULT_DATA_DIR)
        url = (stack.console or "") if stack.server == server else ""
    return f"{url.rstrip('/')}/{run.name}" if url else ""


def follow_run(name: str, server: str | None, as_json: bool) -> int:
    """Show a run until its end, then its result; return the exit code of its end."""
    out = output.console(stderr=as_json)
    absence = Absence(address(server), out)

    async def show() -> run_pb2.Run:
        async with connect_aio(server, absence.retry) as client:
            with absence, view_for(out) as view:
                return await follow(client, name, view)

    try:
        run = asyncio.run(show())
    except KeyboardInterrupt:
        hint = f"{name} continues; stop it with: tailrace runs cancel {name}"
        output.console(stderr=True).print(hint)
        raise
    except Unavailable:
        hint = f"{name} may continue; follow it again with: tailrace runs watch {name}"
        output.console(stderr=True).print(hint)
        raise
    print_run(run, as_json)
    return exit_codes.of_run(run)


def print_run(run: run_pb2.Run, as_json: bool) -> None:
    """Print a run as JSON or as text."""
    if as_json:
        output.print_json(output.plain(run))
    else:
        run_view.print_run(run)
