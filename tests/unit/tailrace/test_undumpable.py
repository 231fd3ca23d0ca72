"""Programs that hold credentials cannot be read by the stages of a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services import __main__ as control_plane
from tailrace import undumpable
from workers import __main__ as program
from workers.pool import pool_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")

UNDUMPABLE = Path(undumpable.__file__).read_text()

# Root reads everything, so a test that runs as root becomes another user; as after an exec, a
# process that has just done so may be read.
DROP = """
import ctypes, os, sys
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""

LIVE = """
print("ready", flush=True)
sys.stdin.read()
"""

READ = f"""
{DROP}
try:
    open("/proc/" + sys.argv[1] + "/environ", "rb").read()
    print("read")
except PermissionError:
    print("refused")
"""

PYTHON = [sys.executable, "-I", "-S", "-c"]


@pytest.mark.parametrize(("call", "seen"), [("", "read"), ("forbid_reading()", "refused")])
def test_the_environment_is_not_to_be_read_by_the_same_user(call: str, seen: str) -> None:
    with subprocess.Popen(
        [*PYTHON, f"{UNDUMPABLE}\n{DROP}\n{call}\n{LIVE}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as live:
        assert live.stdout is not None
        assert live.stdout.readline() == "ready\n"
        reader = subprocess.run(
            [*PYTHON, READ, str(live.pid)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        live.communicate()
    assert reader.stdout == f"{seen}\n"


def test_parent_and_pool_process_forbid_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(program, "forbid_reading", lambda: calls.append("parent"))
    monkeypatch.setattr(pool_process, "forbid_reading", lambda: calls.append("pool"))
    monkeypatch.setattr(pool_process.PoolProcess, "get", lambda _: calls.append("begins"))
    monkeypatch.setenv("TAILRACE_SLOTS", "-1")
    assert program.main() == os.EX_CONFIG
    pool_process._begin()
    assert calls == ["parent", "pool", "begins"]


def test_a_control_plane_forbids_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(control_plane, "forbid_reading", lambda: calls.append("control plane"))
    monkeypatch.setenv("TAILRACE_LISTEN", "nowhere")
    assert control_plane.main() == os.EX_CONFIG
    assert calls == ["control plane"]
