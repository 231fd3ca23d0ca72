from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tailrace.formats import faults
from tailrace.formats.faults import VARIABLE, Moment
from tests.servers.node import wait_until

PASSES = "from tailrace.formats.faults import *; before(Moment.SPAWN); after(Moment.SPAWN)"


def test_nothing_stands_still_where_the_variable_is_unset() -> None:
    assert VARIABLE not in os.environ
    assert faults.before is faults.after is faults._pass


def test_one_process_stands_still_at_an_armed_moment_once(tmp_path: Path) -> None:
    armed = tmp_path / f"{Moment.SPAWN}.after.armed"
    armed.touch()
    env = os.environ | {VARIABLE: str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", PASSES], env=env)
    reached = tmp_path / f"{Moment.SPAWN}.after.reached.{process.pid}"
    wait_until(reached.exists, "the moment", 30)
    assert not armed.exists()
    assert process.poll() is None
    reached.unlink()
    assert process.wait(20) == 0
    # Nothing is armed any more: the next one passes.
    assert subprocess.run([sys.executable, "-c", PASSES], env=env, timeout=30).returncode == 0
    assert list(tmp_path.iterdir()) == []
