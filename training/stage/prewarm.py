"""A stage process before its job: threads and cache are set, imports done, then it waits."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tailrace.formats.stage_protocol import StageJob
from training.machine.runtime import prepare_process


@dataclass(frozen=True)
class Machine:
    """Settings that must be made before JAX is imported."""

    threads: int
    """Number of CPU threads."""
    cache_dir: Path | None
    """Folder of the compilation cache."""

    @classmethod
    def of(cls, job: StageJob) -> Machine:
        """Return the settings of a job."""
        limit = getattr(job.spec.execution, job.kind.value).threads
        threads = min(limit, job.threads) if limit else job.threads
        return cls(threads, Path(job.cache_dir) if job.cache_dir else None)

    def apply(self) -> None:
        """Apply the settings to this process; errors as :func:`.prepare_process`."""
        prepare_process(threads=self.threads, cache_dir=self.cache_dir)


def await_job(machine: Machine) -> Path | None:
    """Import the stages' modules, then wait for the path of a job file on standard input.

    Returns:
        The path, or None when standard input ends without one. Errors as :meth:`Machine.apply`.
    """
    machine.apply()
    from training.stage.kinds import preload

    preload()
    line = sys.stdin.readline()
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    if not line.endswith("\n"):
        return None
    path = Path(line[:-1])
    os.chdir(path.parent)
    return path
