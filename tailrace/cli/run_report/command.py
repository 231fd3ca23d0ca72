"""``tailrace runs report``: a run as one HTML file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.options import Json, RunName, Server, connect
from tailrace.cli.run_report.contents import read_contents
from tailrace.cli.show import output
from tailrace.cli.show.run_view import run_id


def report(
    run: RunName,
    target: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="HTML file to write; in a folder it is RUN.html.",
            show_default=False,
        ),
    ],
    examples: Annotated[
        int,
        typer.Option("--examples", metavar="N", min=0, help="Maximum number of predictions."),
    ] = 1000,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Write a run as one self-contained page, which is readable offline."""
    # Only this command needs the template engine, which takes long to import.
    from tailrace.cli.run_report.page import page

    with connect(server) as client:
        contents = read_contents(client, run, examples)
    target = target / f"{run_id(contents.run)}.html" if target.is_dir() else target
    target.write_text(page(contents, datetime.now(UTC)), encoding="utf-8")
    if as_json:
        output.print_json({"report": str(target), "size_bytes": target.stat().st_size})
    else:
        output.console().print(f"{target} ({output.size(target.stat().st_size)})", soft_wrap=True)
