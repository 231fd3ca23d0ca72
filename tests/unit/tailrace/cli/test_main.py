from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest


def _run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("module", ["typer", "rich", "yaml"])
def test_a_missing_extra_is_told_in_one_line(module: str) -> None:
    script = f"import sys; sys.modules[{module!r}] = None; sys.argv = ['tailrace']\n"
    done = _run(script + "from tailrace.cli.main import main; main()")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "tailrace[cli]"' in done.stderr
    assert done.stdout == ""


def test_the_command_line_does_not_load_the_server_side() -> None:
    script = "import sys, tailrace.cli.app; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = set(_run(script).stdout.split())
    assert "typer" in loaded
    assert not loaded & {"services", "workers", "training", "jax", "celery", "sqlalchemy"}


def test_version_and_help(tailrace: Any) -> None:
    assert tailrace("--version").out.startswith("tailrace 0.")
    assert "Exit codes" in tailrace("--help").out


def test_a_fault_of_the_command_is_not_a_failed_run(
    tailrace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(server: str | None) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tailrace.cli.commands.workers.connect", broken)
    result = tailrace("workers", "list")
    assert result.code == 70
    assert "ZeroDivisionError" in result.err
