from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tailrace.cli.embedded import local_console
from tailrace.cli.embedded.child import Child
from tailrace.cli.embedded.local_console import LocalConsole


def console(folder: Path, code: str, listen: str = "127.0.0.1:0") -> LocalConsole:
    argv = [sys.executable, "-c", code]
    return LocalConsole(lambda: Child("console", argv, {}, folder / "console.log", 1.0), listen)


def messages(console: LocalConsole, until: Callable[[list[str]], bool]) -> list[str]:
    seen: list[str] = []
    deadline = time.monotonic() + 20
    while not until(seen):
        assert time.monotonic() < deadline, seen
        message = console.tend()
        seen += [message] if message else []
        time.sleep(0.01)
    return seen


def test_its_url_is_reported_once_it_listens(tmp_path: Path) -> None:
    code = "print('console on http://127.0.0.1:9/', flush=True); import time; time.sleep(60)"
    started = console(tmp_path, code)
    assert messages(started, bool) == ["console on http://127.0.0.1:9/"]
    assert started.tend() is None
    assert started.child is not None
    started.child.stop(0)


def test_it_is_started_again_and_given_up_without_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_console, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(local_console, "MAX_RESTARTS", 1)
    broken = console(tmp_path, "raise SystemExit(3)")
    first, last = messages(broken, lambda seen: len(seen) == 2)
    assert "is started again" in first
    assert "it is not started again" in last
    assert broken.tend() is None


def test_a_taken_port_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        (message,) = messages(console(tmp_path, "", listen), bool)
    assert "is in use" in message
    assert "--console" in message
