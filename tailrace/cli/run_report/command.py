"""``tailrace runs report``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.options import Json, RunName, Server, connect
from tailrace.cli.run_report.contents import read_contents
from tailrace.cli.show import output


def report(
    run: RunName,
    target: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write, HTML.", show_default=False),
    ],
    examples: Annotated[
        int, typer.Option("--examples", min=0, help="Show at most so many predictions.")
    ] = 1000,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Write a run as one page to keep or pass on: it needs no server and no network."""
    # Its template engine takes long to import, and no other command needs it.
    from tailrace.cli.run_report.page import page

    with connect(server) as client:
        contents = read_contents(client, run, examples)
    target.write_text(page(contents, datetime.now(UTC)), encoding="utf-8")
    if as_json:
        output.print_json({"report": str(target), "size_bytes": target.stat().st_size})
    else:
        output.console().print(f"{target} ({output.size(target.stat().st_size)})", soft_wrap=True)
