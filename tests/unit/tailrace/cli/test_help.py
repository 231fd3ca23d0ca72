from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pytest
from typer.main import get_command

from tailrace.cli.app import app

COLUMNS = 80
"""Width of a terminal in which every help must be readable."""


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[Any]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, (*path, name))


HELPS = [
    pytest.param(*one, id=" ".join(one[0]) or "tailrace") for one in _commands(get_command(app))
]


@pytest.mark.parametrize(("path", "command"), HELPS)
def test_help_is_whole_and_flows_in_a_narrow_terminal(
    tailrace: Any, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...], command: click.Command
) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    lines = tailrace(*path, "--help").out.splitlines()
    assert max(map(len, lines)) <= COLUMNS
    words = {word for line in lines for word in line.replace(",", " ").split()}
    shown = [option for option in command.params if not getattr(option, "hidden", False)]
    options = {name for option in shown for name in option.opts if name.startswith("--")}
    assert options - words == set()
    for paragraph in (command.help or "").split("\n\n"):
        # The first line is as full as the width allows: no break of the source is left.
        first = next(line for line in lines if line.strip() and paragraph.startswith(line.strip()))
        rest = paragraph.removeprefix(first.strip()).split()
        assert not rest or len(f"{first.rstrip()} {rest[0]}") >= COLUMNS - 1
