"""The embedded stack with its real broker and control plane."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import valkey

from tailrace import Client
from tailrace.cli import exit_codes
from tailrace.cli.embedded.child import Child
from tailrace.cli.embedded.local_worker import LocalWorker
from tailrace.cli.embedded.stack import Stack, StackInfo, require_extras, shared_cores
from tailrace.cli.errors import CommandError


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_starts_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with Stack(data_dir, listen="127.0.0.1:0", workers=0) as stack:
        pids = [child.pid for child in stack.children]
        assert [child.name for child in stack.children] == ["broker", "control plane"]
        with Client(stack.server) as client:
            assert client.seed_dataset("golden-v2").line_count == 100
        info = StackInfo.read(data_dir)
        assert info.server == stack.server
        broker = valkey.Valkey.from_url(info.broker_url or "")
        assert broker.ping()
        broker.close()  # type: ignore[no-untyped-call]
        assert stat.S_IMODE((data_dir / "stack.json").stat().st_mode) == 0o600
        password = (info.broker_url or "").split(":")[2].split("@")[0]
        assert password not in "".join(log.read_text() for log in data_dir.glob("logs/*.log"))
        with pytest.raises(CommandError, match="another stack runs in"):
            Stack(data_dir, listen="127.0.0.1:0", workers=0).__enter__()
        assert stack.tend() == []
        assert stack.farewell == "stopping ..."
    assert not any(_alive(pid) for pid in pids)
    assert StackInfo.read(data_dir) == StackInfo()
    # What it kept is there the next time.
    with (
        Stack(data_dir, listen="127.0.0.1:0", workers=0) as again,
        Client(again.server) as client,
    ):
        assert client.get_dataset("golden-v2").version == 1


def test_what_does_not_come_up_is_told_and_the_rest_is_stopped(tmp_path: Path) -> None:
    url = "nonsense://nowhere"
    stack = Stack(tmp_path, listen="127.0.0.1:0", workers=0, database_url=url)
    with pytest.raises(CommandError) as raised:
        stack.__enter__()
    assert "the control plane ended (exit status" in str(raised.value)
    assert "control-plane.log" in str(raised.value)
    assert "| {" not in str(raised.value)
    assert stack.children == ()
    assert not (tmp_path / "stack.json").exists()


def test_a_taken_port_is_told_before_anything_is_made(tmp_path: Path, tailrace: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listen = f"127.0.0.1:{listener.getsockname()[1]}"
        result = tailrace("up", "--listen", listen, "--data-dir", tmp_path / "data")
    assert result.code == 4
    assert result.err == (
        f"error: {listen} is in use, perhaps by another `tailrace up`: stop that, or give another "
        "address with --listen\n"
    )
    assert not (tmp_path / "data").exists()


def test_up_ends_on_sigterm_with_everything_it_started(tmp_path: Path) -> None:
    arguments = ["up", "--no-worker", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TAILRACE_")}
    up = subprocess.Popen(
        [sys.executable, "-m", "tailrace.cli.main", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert up.stdout is not None
    assert "control plane on 127.0.0.1:" in up.stdout.readline()
    server = StackInfo.read(tmp_path).server or ""
    up.send_signal(signal.SIGTERM)
    assert up.wait(20) == 128 + signal.SIGTERM
    assert "stopping" in up.stdout.read()
    up.stdout.close()
    host, port = server.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=2)


def test_the_end_of_the_control_plane_is_told_at_once_and_ends_up(tmp_path: Path) -> None:
    arguments = ["up", "--no-worker", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TAILRACE_")}
    with subprocess.Popen(
        [sys.executable, "-m", "tailrace.cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as up:
        assert up.stdout is not None
        port = int(up.stdout.readline().split(":")[1].split(";")[0])
        (plane,) = {
            child.pid
            for child in psutil.Process(up.pid).children()
            for connection in child.net_connections("tcp")
            if connection.laddr.port == port and connection.status == "LISTEN"
        }
        os.kill(plane, signal.SIGKILL)
        began = time.monotonic()
        text = up.stdout.read()
        assert up.wait(20) == 70
    assert time.monotonic() - began < 10
    assert text.index("the control plane ended (killed by SIGKILL)") < text.index("stopping ...")
    assert "control-plane.log" in text
    assert "{" not in text


def test_the_end_of_the_broker_ends_the_stack(tmp_path: Path) -> None:
    with Stack(tmp_path, listen="127.0.0.1:0", workers=0) as stack:
        os.kill(stack.children[0].pid, signal.SIGKILL)
        time.sleep(0.5)
        with pytest.raises(CommandError, match=r"the broker ended \(killed by SIGKILL\)"):
            stack.tend()


def test_a_second_ctrl_c_kills_what_is_left(tmp_path: Path) -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); "
        "time.sleep(60)"
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Stack(tmp_path, listen="127.0.0.1:0", workers=0) as stack:
            argv = [sys.executable, "-c", script]
            stubborn = LocalWorker(
                lambda: Child("worker 1", argv, {}, tmp_path / "log", 60.0), "local-1"
            )
            stack._local_workers.append(stubborn)
            stubborn.child.wait_for(lambda: stubborn.child.output() or None, 10)
            assert "waiting up to 60 s for workers to save their state" in stack.farewell
            interrupt = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
            interrupt.start()
            began = time.monotonic()
        interrupt.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 10
    assert stubborn.child.end == "killed by SIGKILL"
    assert stack.children == ()


@pytest.mark.skipif(sys.platform != "linux", reason="pinning is Linux's")
def test_workers_get_equal_shares_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {1, 2, 3, 5, 8})
    assert shared_cores(1, 1) == []
    assert [shared_cores(n, 2) for n in (1, 2)] == [[1, 2], [3, 5]]
    assert shared_cores(6, 6) == []


def test_missing_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CommandError, match=r'pip install "tailrace\[server,training\]"'):
        require_extras({"sqlalchemy", "jax"})


@pytest.mark.parametrize("command", ["up", "worker"])
def test_a_password_on_the_command_line_is_refused(tailrace: Any, command: str) -> None:
    refused = tailrace(command, "--broker-url", "amqp://u:hunter2@h/")
    assert refused.code == 2
    assert "TAILRACE_BROKER_URL" in refused.err
    assert "hunter2" not in refused.err


def test_a_wrong_url_is_told_before_anything_is_started(
    tailrace: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tailrace("up", "--database-url", "garbage", "--data-dir", tmp_path / "data")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith("error: --database-url is not a URL; it looks like sqlite:///FILE")
    monkeypatch.setenv("TAILRACE_DATABASE_URL", "mysql://u:hunter2@h/d")
    wrong = tailrace("up", "--data-dir", tmp_path / "data")
    assert wrong.err.startswith("error: TAILRACE_DATABASE_URL has the scheme 'mysql'")
    assert "hunter2" not in wrong.err
    assert not (tmp_path / "data").exists()


def test_up_hands_listed_endpoints_to_its_workers(
    tmp_path: Path, tailrace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments: list[dict[str, str]] = []

    def child(self: Stack, name: str, module: str, env: dict[str, str], *_: object) -> None:
        environments.append(env)

    monkeypatch.setattr(Stack, "_child", child)
    for places in (["127.0.0.1:8000", "[::1]:9"], []):
        stack = Stack(tmp_path, allowed_endpoints=places)
        stack._worker(1, "redis://127.0.0.1")
    assert environments[0]["TAILRACE_JUDGE_ENDPOINTS"] == "127.0.0.1:8000,[::1]:9"
    assert "TAILRACE_JUDGE_ENDPOINTS" not in environments[1], "the inherited variable stays"
    result = tailrace("up", "--data-dir", tmp_path / "data", "--allow-endpoint", "http://host:1")
    assert result.code == exit_codes.BAD_INPUT
    assert "'http://host:1' is not HOST:PORT" in result.err
