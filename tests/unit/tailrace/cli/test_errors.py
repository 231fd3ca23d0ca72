from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tailrace.cli import errors
from tailrace.errors import InvalidArgument, Unavailable
from tailrace.formats.data.jsonl import FormatError, LineError
from tailrace.formats.schema import MORE, SpecError, Violation
from tailrace.spec_file import SpecFileError


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (SpecFileError("run.yaml", "is empty"), "error: run.yaml is empty\n"),
        (
            SpecError([Violation("a", "is wrong")]),
            "error: a field is wrong\n  a: is wrong\n",
        ),
        (
            FormatError([LineError(3, "is not JSON")]),
            "error: a line is wrong\n  line 3: is not JSON\n",
        ),
        (
            FileNotFoundError(2, "No such file or directory", "run.yaml"),
            "error: run.yaml: No such file or directory\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "error: No space left on device; TMPDIR names the folder for temporary files\n",
        ),
    ],
)
def test_errors(capsys: pytest.CaptureFixture[str], raised: Exception, text: str) -> None:
    assert errors.error(raised) == 2
    assert capsys.readouterr().err == text


def test_only_a_missing_server_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    errors.error(Unavailable("no server answers at 127.0.0.1:1"))
    assert "hint: is the control plane running?" in capsys.readouterr().err
    errors.error(Unavailable("the server at 127.0.0.1:1 closed the connection at once"))
    assert "hint" not in capsys.readouterr().err


def test_many_violations_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    errors.error(SpecError([Violation(f"f{i}", "is wrong") for i in range(250)]))
    message = capsys.readouterr().err.splitlines()
    assert message[0] == "error: 250 fields are wrong"
    assert message[-1] == "  and 150 more"
    assert len(message) == 102


def test_many_lines_of_a_server_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [Violation(f"line {i}", "is wrong") for i in (1, 2)]
    raised = InvalidArgument(
        "line 1: is wrong", violations=[*lines, Violation(MORE, "and 498 more")]
    )
    errors.error(raised)
    assert capsys.readouterr().err == (
        "error: more than 2 lines are wrong\n  line 1: is wrong\n  line 2: is wrong\n"
        "  and 498 more\n"
    )


def test_many_lines_of_a_file_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    errors.error(FormatError([LineError(i, "is wrong") for i in range(1, 501)]))
    message = capsys.readouterr().err.splitlines()
    assert message[0] == "error: 500 lines are wrong"
    assert message[-1] == "  and 400 more"


def test_a_file_that_is_not_there(tailrace: object, tmp_path: Path) -> None:
    result = tailrace("runs", "create", "-f", tmp_path / "none.yaml")  # type: ignore[operator]
    assert result.code == 2
    assert "Errno" not in result.err


def test_what_a_server_says_at_length_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    long = "the weights do not fit: " + "x" * 500
    raised = InvalidArgument(f"files: {long}", violations=[Violation("files", long[:400] + "…")])
    errors.error(raised)
    assert capsys.readouterr().err == f"error: a field is wrong\n  files: {long[:400]}…\n"
