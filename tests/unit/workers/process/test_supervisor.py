"""Supervision of real processes: signals as directed, timeout, kill."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.node import wait_until
from workers.pool.directives import Directive, Directives
from workers.process.stage_process import StageProcess
from workers.process.supervisor import Ending, Supervisor

POLITE = """
import os, signal, sys, time
def on(number, _):
    os.write(1, signal.Signals(number).name.encode() + b"\\n")
    if sys.argv[1] == "polite":
        sys.exit(0)
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, on)
os.write(1, b"ready\\n")
for _ in range(6000):
    time.sleep(0.1)
"""


class Run:
    """A supervised process; directives may be given once it is ready."""

    def __init__(self, folder: Path, manner: str) -> None:
        self.directives = Directives()
        self.process = StageProcess(
            [sys.executable, "-c", POLITE, manner],
            environment=os.environ,
            cores=[min(os.sched_getaffinity(0))],
            folder=folder,
        )
        assert os.read(self.process.output, 6) == b"ready\n"

    def end(self, *, timeout: float = 60.0, grace: float = 5.0) -> tuple[Ending, str]:
        """Supervise to the end; returns it and the signals that the process saw."""
        ending = Supervisor(self.process, self.directives, timeout=timeout, grace=grace).run()
        with os.fdopen(self.process.output) as output:
            return ending, output.read()

    def later(self, *steps: str) -> None:
        """Call methods of the directives one after another, from another thread."""

        def call() -> None:
            for step in steps:
                time.sleep(0.3)
                getattr(self.directives, step)()

        threading.Thread(target=call).start()


@pytest.fixture
def polite(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path, "polite")
    yield run
    os.close(run.process.events)


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path, "deaf")
    yield run
    os.close(run.process.events)


def test_a_drain_asks_for_a_checkpoint(polite: Run) -> None:
    polite.later("drain")
    ending, signals = polite.end()
    assert (ending.status, ending.directive, ending.timed_out) == (0, Directive.RELEASE, False)
    assert signals == "SIGUSR1\n"


def test_a_lost_lease_kills_at_once(polite: Run) -> None:
    polite.later("lose")
    began = time.monotonic()
    ending, signals = polite.end()
    assert (ending.status, ending.directive) == (-signal.SIGKILL, Directive.LEASE_LOST)
    assert signals == "", "a lost lease leaves no time for goodbyes"
    assert time.monotonic() - began < 2.3


def test_a_deaf_process_is_killed_after_the_grace_period(deaf: Run) -> None:
    deaf.later("drain")
    began = time.monotonic()
    ending, signals = deaf.end(grace=0.5)
    assert (ending.status, ending.directive) == (-signal.SIGKILL, Directive.RELEASE)
    assert signals == "SIGUSR1\n"
    assert time.monotonic() - began < 3


def test_a_cancellation_during_a_release_does_not_start_the_grace_anew(deaf: Run) -> None:
    def cancel() -> None:
        time.sleep(1.0)
        deaf.directives.abort("no disk")

    deaf.directives.drain()
    threading.Thread(target=cancel).start()
    began = time.monotonic()
    ending, signals = deaf.end(grace=1.5)
    assert signals == "SIGUSR1\nSIGTERM\n"
    assert ending.directive is Directive.ABORT
    assert time.monotonic() - began < 2.4


def test_the_timeout_ends_it(polite: Run) -> None:
    ending, signals = polite.end(timeout=0.5)
    assert (ending.timed_out, ending.directive, ending.status) == (True, Directive.CONTINUE, 0)
    assert signals == "SIGTERM\n"
    assert ending.seconds < 2.5


def test_a_crash_is_noticed_within_two_seconds(polite: Run) -> None:
    threading.Timer(0.3, os.kill, (polite.process.pid, signal.SIGSEGV)).start()
    ending, _ = polite.end()
    assert ending.status == -signal.SIGSEGV
    assert ending.directive is Directive.CONTINUE
    assert ending.seconds < 2.3


def test_an_interrupted_supervisor_leaves_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, "deaf")

    class InterruptedDirectives(Directives):
        def wait(self, above: Directive, timeout: float) -> bool:
            raise KeyboardInterrupt

    run.directives = InterruptedDirectives()
    with pytest.raises(KeyboardInterrupt):
        run.end()
    wait_until(lambda: run.process.has_ended(), "the end", 5)
    os.close(run.process.events)
    os.close(run.process.output)
