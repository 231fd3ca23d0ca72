"""A stage process before its job: the machine settled, the imports done, then a wait."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tailrace.formats.stage_protocol import StageJob
from training.machine.runtime import prepare_process


@dataclass(frozen=True)
class Machine:
    """What has to be settled before JAX is imported."""

    threads: int
    """CPU threads."""
    cache_dir: Path | None
    """Compilation cache."""

    @classmethod
    def of(cls, job: StageJob) -> Machine:
        """What a job wants."""
        wanted = getattr(job.spec.execution, job.kind.value).threads
        threads = min(wanted, job.threads) if wanted else job.threads
        return cls(threads, Path(job.cache_dir) if job.cache_dir else None)

    def settle(self) -> None:
        """Settle it for this process; errors as ``prepare_process``."""
        prepare_process(threads=self.threads, cache_dir=self.cache_dir)


def await_job(machine: Machine) -> Path | None:
    """Import what stages need and wait to be told a job file; None when none will come.

    Errors as :meth:`Machine.settle`.
    """
    machine.settle()
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
