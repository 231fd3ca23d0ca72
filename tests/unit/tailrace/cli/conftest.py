"""The command line in this process, against the twin of the control plane."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tailrace.channel import SERVER_VARIABLE
from tailrace.cli import app
from tailrace.environment import VARIABLES


@dataclass(frozen=True)
class Result:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as one document."""
        return json.loads(self.out)

    def json_lines(self) -> list[Any]:
        """Standard output as one document per line."""
        return [json.loads(line) for line in self.out.splitlines()]


Tailrace = Callable[..., Result]


@pytest.fixture
def tailrace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Tailrace:
    """Run ``tailrace ARGUMENTS`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in (SERVER_VARIABLE, *VARIABLES):
        # The command may set them: set here first, they are restored at the end.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def call(*arguments: object) -> Result:
        monkeypatch.setattr("sys.argv", ["tailrace", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            app.run()
        captured = capsys.readouterr()
        code = end.value.code
        return Result(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call


@pytest.fixture
def served(tailrace: Tailrace, plane: Any, monkeypatch: pytest.MonkeyPatch) -> Tailrace:
    """The same with the twin as TAILRACE_SERVER."""
    monkeypatch.setenv("TAILRACE_SERVER", plane.address)
    return tailrace


@pytest.fixture
def narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output goes to a terminal of 80 columns, as rich sees it."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
