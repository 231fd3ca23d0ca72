"""Hits a target with a fault, and mends it again."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

import psutil

from tests.chaos.cluster import LEASE_SECONDS, WORKERS, Cluster, offspring
from tests.chaos.disk import Disk
from tests.chaos.matrix import Fault, Target

LONG_SECONDS = LEASE_SECONDS + 1.0
"""Longer than the lease."""

START_SECONDS = 20.0
"""Longest wait for a stage process to start."""

END_SECONDS = 60.0
"""Longest wait for something that was asked to end."""

Mend = Callable[[], None]


class NoTargetError(Exception):
    """The target was not there at the moment."""


def strike(cluster: Cluster, target: Target, fault: Fault, pid: int | None) -> Mend:
    """Break something at once; the answer mends it, which takes its time.

    ``pid`` is the process that stands at the moment, if one does.
    """
    if fault is Fault.CUT:
        return _cut(cluster, target)
    if fault is Fault.DISK:
        return _fill(_disk(cluster, target, pid))
    victims = _victims(cluster, target, pid)
    if fault is Fault.KILL:
        whole = target not in (Target.STAGE, Target.CHILD, Target.WORKER)
        _signal(_tree(victims) if whole else victims, signal.SIGKILL)
        return lambda: _await_end(victims)
    if fault is Fault.STOP:
        stopped = _tree(victims) if target is not Target.STAGE else victims
        _signal(stopped, signal.SIGSTOP)
        return lambda: _go_on(stopped)
    # A restart and SIGTERM begin alike; a restart is over only once the target has ended.
    _signal(victims, signal.SIGTERM)
    if target is Target.POSTGRES:
        return lambda: _insist(victims)
    return (lambda: _await_end(victims)) if fault is Fault.RESTART else (lambda: None)


def _victims(cluster: Cluster, target: Target, pid: int | None) -> list[psutil.Process]:
    if target is Target.WORKER:
        found = psutil.Process(cluster.fleet[_worker(cluster, pid)].pid)
    elif target is Target.STAGE:
        found = _stage_process(cluster, pid)
    elif target is Target.CHILD:
        found = _pool_process(cluster, pid)
    else:
        found = psutil.Process(cluster.server_process(target).pid)
    return [found]


def _worker(cluster: Cluster, pid: int | None) -> str:
    """The worker that stands at the moment, else one that has a stage, else any."""
    if pid is not None:
        with contextlib.suppress(LookupError):
            return cluster.worker_of(pid)
    for process in cluster.inhabitants():
        with contextlib.suppress(LookupError):
            return cluster.worker_of(process.pid)
    return WORKERS[0]


def _stage_process(cluster: Cluster, pid: int | None) -> psutil.Process:
    """A stage process; the worker may be about to start it."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for process in cluster.inhabitants():
            with contextlib.suppress(psutil.Error):
                if process.pid == pid or "training.stage" in process.cmdline():
                    return process
        time.sleep(0.02)
    raise NoTargetError("no stage process is there")


def _pool_process(cluster: Cluster, pid: int | None) -> psutil.Process:
    """The pool process above ``pid``, at it, or of its worker; workers have one slot each."""
    name = _worker(cluster, pid)
    parent = cluster.fleet[name].pid
    children = [p for p in offspring(parent) if p.ppid() == parent]
    for child in children:
        with contextlib.suppress(psutil.Error):
            if any("spawn_main" in word for word in child.cmdline()):
                return child
    raise NoTargetError(f"{name} has no pool process")


def _disk(cluster: Cluster, target: Target, pid: int | None) -> Disk:
    if target is Target.CONTROL:
        return cluster.data_disk
    return cluster.disks[_worker(cluster, pid)]


def _fill(disk: Disk) -> Mend:
    disk.fill()

    def mend() -> None:
        time.sleep(LONG_SECONDS)
        disk.free()

    return mend


def _cut(cluster: Cluster, target: Target) -> Mend:
    proxies = {
        Target.POSTGRES: cluster.database_proxy,
        Target.RABBITMQ: cluster.broker_proxy,
        Target.VALKEY: cluster.broker_proxy,
    }
    proxy = proxies.get(target, cluster.server_proxy)
    assert proxy is not None
    proxy.cut()
    return lambda: None


def _tree(roots: list[psutil.Process]) -> list[psutil.Process]:
    return [p for root in roots for p in (root, *offspring(root.pid))]


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            os.kill(process.pid, number)


def _insist(victims: list[psutil.Process]) -> None:
    """PostgreSQL waits at SIGTERM until its clients hang up, and at SIGINT for nobody."""
    time.sleep(LONG_SECONDS)
    _signal(victims, signal.SIGINT)
    _await_end(victims)


def _go_on(stopped: list[psutil.Process]) -> None:
    time.sleep(LONG_SECONDS)
    _signal(stopped, signal.SIGCONT)


def _await_end(victims: list[psutil.Process]) -> None:
    def gone(process: psutil.Process) -> bool:
        try:
            return bool(process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    deadline = time.monotonic() + END_SECONDS
    while not all(gone(process) for process in victims):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{victims} did not end")
        time.sleep(0.05)
