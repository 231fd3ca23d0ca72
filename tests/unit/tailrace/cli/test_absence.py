from __future__ import annotations

import dataclasses
import io
import threading
from typing import Any

import pytest
from rich.console import Console

from tailrace.cli import absence
from tailrace.errors import Unavailable
from tailrace.v1 import run_pb2
from tests.servers.node import free_port, wait_until

COMMANDS = [
    "runs watch r",
    "runs watch r --json",
    "runs logs r --follow",
    "runs metrics r --follow",
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "RETRY", dataclasses.replace(absence.RETRY, reconnect_timeout=5.0))
    monkeypatch.setattr(absence, "_ASK_SECONDS", 0.05)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_follower_says_once_that_it_waits_and_once_that_it_goes_on(
    served: Any, plane: Any, command: str
) -> None:
    plane.runs.runs["runs/r"] = run_pb2.Run(name="runs/r")
    plane.kill()
    restart = threading.Timer(0.6, plane.start)
    restart.start()
    followed = served(*command.split())
    restart.join()
    text = followed.out + followed.err
    assert text.count(f"; waiting for {plane.address}, for 5 s at most") == 1
    assert text.count(f"{plane.address} is back") == 1
    if "--json" in command:
        assert followed.json_lines()


@pytest.mark.parametrize("command", COMMANDS[:3:2])
def test_a_follower_that_gives_up_says_so_and_names_the_server(
    tailrace: Any, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(absence, "RETRY", dataclasses.replace(absence.RETRY, reconnect_timeout=0.3))
    server = f"127.0.0.1:{free_port()}"
    ended = tailrace(*command.split(), "--server", server)
    assert ended.code == 5
    text = ended.out + ended.err
    assert text.count("waiting for") == 1
    assert f"error: no server answers at {server}" in ended.err
    assert "is back" not in text


def test_a_stream_that_recovers_later_is_not_announced_and_a_second_absence_is(plane: Any) -> None:
    text = io.StringIO()
    error = Unavailable("the connection was refused")
    plane.kill()
    with absence.Absence(plane.address, Console(file=text)) as followed:
        announce = followed.retry.on_absence
        assert announce is not None
        announce(error)
        plane.start()
        wait_until(lambda: "is back" in text.getvalue(), "the server's return", 10)
        announce(error)
        wait_until(lambda: not followed._away, "the thread's answer", 10)
        assert text.getvalue().count("waiting for") == 1
        plane.kill()
        announce(error)
        wait_until(lambda: text.getvalue().count("waiting for") == 2, "the second absence", 10)
        plane.start()
        wait_until(lambda: text.getvalue().count("is back") == 2, "the second return", 10)
