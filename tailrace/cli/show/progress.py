"""Progress bars of a single task, on terminals only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from tailrace.cli.show import output


@contextmanager
def count_progress(task: str, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows a count whose end is unknown."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,.0f} {task.fields[unit]}"),
        TimeElapsedColumn(),
    )
    console = output.console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        bar = bars.add_task(task, total=None, unit=unit)
        yield lambda count: bars.update(bar, completed=count)


@contextmanager
def bytes_progress(task: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that moves a bar of bytes."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    console = output.console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        bar = bars.add_task(task, total=total)

        def update(size: int) -> None:
            done = size >= total > 0
            bars.update(bar, completed=size, description="checked by the server" if done else task)

        yield update
