"""Escapes in untrusted text, whichever command prints it to a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.tailrace.cli.hostile_plane import TEXT, hostile_plane

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
SGR = re.compile(r"\x1b\[[0-9;]*m")

COMMANDS = [
    "runs list",
    "runs get r",
    "runs watch r",
    "runs logs r --level info",
    "runs metrics r",
    "runs predictions r",
    "runs verdicts r",
    "runs compare a b",
    "runs cancel r",
    "runs retry r",
    "runs verify r",
    "runs report r -o report.html",
    "datasets list",
    "datasets get d",
    "evalsets list",
    "models list",
    "models get m",
    "baselines list",
    "baselines get b",
    "workers list",
    "workers get w",
    "workers drain w",
    "pools list",
]

SILENT = ("runs report r -o report.html", "runs verify r")
"""Commands that print nothing of what this control plane says."""


@pytest.fixture(scope="module")
def plane() -> Iterator[str]:
    with hostile_plane() as address:
        yield address


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    with hostile_plane(refuse=True) as address:
        yield address


@pytest.mark.parametrize("command", COMMANDS)
def test_tables_and_texts_show_escapes(tailrace: Any, plane: str, command: str) -> None:
    printed = tailrace(*command.split(), "--server", plane)
    assert not UNSAFE.search(printed.out + printed.err)
    assert "\\x1b[2J" in printed.out + printed.err or command in SILENT
    assert "Traceback" not in printed.err
    assert not any(line.startswith("error: forged") for line in printed.err.splitlines())
    assert not any(line.startswith("error: forged") for line in printed.out.splitlines())


@pytest.mark.parametrize("command", ["runs list", "runs get r", "runs watch r", "runs verdicts r"])
def test_a_terminal_gets_colours_of_ours_alone(
    tailrace: Any, plane: str, command: str, narrow_terminal: None
) -> None:
    printed = tailrace(*command.split(), "--server", plane)
    assert not UNSAFE.search(SGR.sub("", printed.out + printed.err))


@pytest.mark.parametrize("command", [c for c in COMMANDS if "report" not in c])
def test_json_means_the_same_and_is_safe(tailrace: Any, plane: str, command: str) -> None:
    printed = tailrace(*command.split(), "--server", plane, "--json")
    assert not UNSAFE.search(printed.out + printed.err)
    if printed.code == 0:
        assert TEXT in _texts(printed.json())


@pytest.mark.parametrize("command", ["runs get r", "runs logs r", "datasets list"])
def test_errors_show_escapes_on_one_line(tailrace: Any, refusing: str, command: str) -> None:
    failed = tailrace(*command.split(), "--server", refusing)
    assert failed.code == 4
    assert not UNSAFE.search(failed.out + failed.err)
    assert "error: a\\x1b[2J" in failed.err
    assert failed.err.count("\nerror:") == 0


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield key
            yield from _texts(value)
    elif isinstance(data, list):
        for value in data:
            yield from _texts(value)
    elif isinstance(data, str):
        yield data
