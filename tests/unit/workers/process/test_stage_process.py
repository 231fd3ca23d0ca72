"""The stage process and its group: pinned, watched, and gone with its supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil

from tests.servers.node import wait_until
from tests.unit.workers.conftest import wait_gone
from workers.process.stage_process import StageProcess

SCRIPT = """
import os, subprocess, sys, time
kind = sys.argv[1]
with os.fdopen(int(sys.argv[3]), "w") as events:
    if kind == "tree":
        code = "import subprocess, sys, time; " + (
            "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
            "print(p.pid, flush=True); time.sleep(600)")
        subprocess.Popen([sys.executable, "-c", code])
        time.sleep(600)
    if kind == "orphan":
        p = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(p.pid, flush=True)
    print(sorted(os.sched_getaffinity(0)), os.getcwd(), os.environ.get("MARK"), flush=True)
    print("on stderr", file=sys.stderr, flush=True)
    events.write("event line\\n")
sys.exit(5)
"""


def start(folder: Path, kind: str, **environment: str) -> StageProcess:
    core = min(os.sched_getaffinity(0))
    return StageProcess(
        [sys.executable, "-c", SCRIPT, kind],
        environment=os.environ | environment,
        cores=[core],
        folder=folder,
    )


def read(descriptor: int) -> str:
    """All that comes until the pipe ends."""
    with os.fdopen(descriptor, closefd=True) as pipe:
        return pipe.read()


def wait_end(process: StageProcess) -> int:
    wait_until(process.has_ended, "the end", 20)
    return process.finish()


def test_it_is_pinned_and_both_pipes_carry_what_it_writes(tmp_path: Path) -> None:
    process = start(tmp_path, "plain", MARK="seen")
    core = min(os.sched_getaffinity(0))
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
    assert wait_end(process) == 5
    assert process.finish() == 5
    assert process.has_ended()
    assert read(process.output) == f"[{core}] {tmp_path} seen\non stderr\n"
    assert read(process.events) == "event line\n"


def test_the_end_takes_what_it_left_behind_with_it(tmp_path: Path) -> None:
    process = start(tmp_path, "orphan")
    assert wait_end(process) == 5
    left = int(read(process.output).split()[0])
    wait_until(lambda: not psutil.pid_exists(left), "the orphan's end", 5)
    assert read(process.events) == "event line\n"


def test_a_killed_process_takes_its_tree_with_it(tmp_path: Path) -> None:
    process = start(tmp_path, "tree")
    line = os.read(process.output, 100)
    grandchild = psutil.Process(int(line))
    os.kill(process.pid, signal.SIGKILL)
    assert wait_end(process) == -signal.SIGKILL
    wait_gone([grandchild])


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import os, sys, time
        sys.argv = ["", ""]
        from pathlib import Path
        from workers.process.stage_process import StageProcess
        process = StageProcess(
            [sys.executable, "-c", {SCRIPT!r}, "tree"],
            environment=dict(os.environ), cores=[{min(os.sched_getaffinity(0))}],
            folder=Path({str(tmp_path)!r}),
        )
        print(process.pid, int(os.read(process.output, 100)), flush=True)
        time.sleep(600)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as supervisor:
        assert supervisor.stdout is not None
        stage, grandchild = map(int, supervisor.stdout.readline().split())
        tree = psutil.Process(supervisor.pid).children(recursive=True)
        assert {stage, grandchild} <= {p.pid for p in tree}
        os.killpg(supervisor.pid, signal.SIGKILL)
        wait_gone(tree)


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    process = StageProcess(["/no/such"], environment={}, cores=[core], folder=tmp_path)
    assert wait_end(process) == 127
    assert "/no/such: No such file or directory" in read(process.output)
    os.close(process.events)


def test_cores_that_are_not_there_say_so(tmp_path: Path) -> None:
    process = StageProcess(["true"], environment={}, cores=[4095], folder=tmp_path)
    assert wait_end(process) == 127
    assert "CPU cores 4095" in read(process.output)
    os.close(process.events)


def test_signals_go_to_the_process_and_not_to_an_ended_one(tmp_path: Path) -> None:
    process = start(tmp_path, "tree")
    os.read(process.output, 100)
    process.send(signal.SIGTERM)
    wait_until(process.has_ended, "the end", 10)
    process.send(signal.SIGTERM)
    assert process.finish() == -signal.SIGTERM
    os.close(process.output)
    os.close(process.events)


def test_no_descriptor_and_no_zombie_is_left(tmp_path: Path) -> None:
    """Runs in a process of its own: other threads of the test process open descriptors at will."""
    code = textwrap.dedent(
        f"""
        import os, sys
        from pathlib import Path
        import psutil
        from tests.unit.workers.process.test_stage_process import start, wait_end

        def used() -> int:
            return len(list(Path("/proc/self/fd").iterdir()))

        before = used()
        for _ in range(3):
            process = start(Path({str(tmp_path)!r}), "plain")
            wait_end(process)
            os.close(process.output)
            os.close(process.events)
        left = [child.status() for child in psutil.Process().children()]
        print(used() - before, left.count(psutil.STATUS_ZOMBIE))
        """
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["0", "0"]), done.stderr
