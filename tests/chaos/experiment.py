"""One experiment: submit a run, break something at a moment of it, mend it, audit the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import tailrace
from tailrace.errors import DeadlineExceeded, Unavailable
from tailrace.formats.faults import Moment
from tailrace.v1 import run_pb2
from tests.chaos.audit import Findings, Outcome, audit, outcome
from tests.chaos.cluster import Cluster
from tests.chaos.matrix import Cell, Fault, Target
from tests.chaos.strike import NoTargetError, strike
from tests.integration.specs import ROLLOUTS, TERMINAL, small, stage_states, state

STEPS = 60

ROLLOUT_STEPS = 12
"""Steps of a training on sampled answers, of which every third is saved."""

MOMENT_SECONDS = 60.0
"""How long a run may take to come to the moment."""

RUN_SECONDS = 240.0
"""How long a run may take after it was mended."""


@dataclass(frozen=True)
class Hit:
    """A fault of the random walk."""

    delay: float
    """Seconds after the one before it, or after the submission."""
    target: Target
    fault: Fault

    def __str__(self) -> str:
        return f"{self.fault} of {self.target} after {self.delay:.1f} s"


class Experiments:
    """Experiments on one cluster, each with a run of its own."""

    def __init__(self, cluster: Cluster) -> None:
        """Do a run that nothing disturbs, to compare the others with."""
        self._cluster = cluster
        self._count = 0
        with cluster.client() as client:
            client.seed_dataset("golden-v2")
        self._sound = self._undisturbed(samples=False)
        self._sound_of_rollouts: Outcome | None = None

    def _undisturbed(self, *, samples: bool) -> Outcome:
        with self._cluster.client() as client:
            run = self._until_terminal(client, self._submit(samples=samples).result())
            assert state(run) == "succeeded", run
            sound = outcome(client, run)
            problems = audit(self._cluster, client, run, sound).all()
            assert not problems, problems
            return sound

    def cells(self, *cells: Cell) -> Findings:
        """Do cells of the matrix in one run, each when its moment comes, then audit.

        Raises ``NoTargetError`` when one could not be done, so that it proves nothing.
        """
        self._require_disks(cells)
        samples = any(cell.moment is Moment.ROLLOUTS for cell in cells)
        sound = self._sound
        if samples:
            self._sound_of_rollouts = self._sound_of_rollouts or self._undisturbed(samples=True)
            sound = self._sound_of_rollouts
        waiting = {f"{cell.moment}.{cell.side}": cell for cell in cells}
        with self._armed(waiting):
            submitted = self._submit(samples=samples)
            deadline = time.monotonic() + MOMENT_SECONDS * len(cells)
            while waiting:
                self._cluster.tend()
                for reached in self._cluster.faults.glob("*.reached.*"):
                    cell = waiting.pop(reached.name.partition(".reached.")[0])
                    self._strike(cell, reached)
                if time.monotonic() > deadline:
                    raise NoTargetError(f"not reached: {', '.join(waiting)}")
                time.sleep(0.01)
        return self._conclude(submitted, sound)

    def _strike(self, cell: Cell, reached: Path) -> None:
        pid = int(reached.name.rpartition(".")[2])
        try:
            mend = strike(self._cluster, cell.target, cell.fault, pid)
        finally:
            reached.unlink(missing_ok=True)
        mend()

    def at_random(self, hits: Sequence[Hit], tries: int = 4) -> Findings:
        """Hit a run with one fault after the other, wherever it is by then, and audit its end.

        A target that is not there then is hit in another run, after half the time. Raises
        ``NoTargetError`` when it is not there for so many tries.
        """
        self._require_disks(hits)
        submitted = self._submit()
        missed: list[Hit] = []
        for hit in hits:
            time.sleep(hit.delay)
            self._cluster.tend()
            try:
                strike(self._cluster, hit.target, hit.fault, None)()
            except NoTargetError:
                if tries == 1:
                    raise
                missed.append(replace(hit, delay=hit.delay / 2))
        findings = self._conclude(submitted, self._sound)
        return findings + self.at_random(missed, tries - 1) if missed else findings

    def _require_disks(self, each: Sequence[Cell | Hit]) -> None:
        if any(it.fault is Fault.DISK for it in each) and not self._cluster.data_disk.own:
            raise NoTargetError("file systems cannot be mounted here")

    def _conclude(self, submitted: Future[str], sound: Outcome) -> Findings:
        deadline = time.monotonic() + MOMENT_SECONDS
        while not submitted.done() and time.monotonic() < deadline:
            self._cluster.tend()
            time.sleep(0.05)
        name = submitted.result(0)
        with self._cluster.client() as client:
            run = self._until_terminal(client, name)
            return audit(self._cluster, client, run, sound)

    def _submit(self, *, samples: bool = False) -> Future[str]:
        """Create a run until it is accepted, however long that takes; its name.

        With ``samples`` it learns from rewards of the answers that it samples.
        """
        self._count += 1
        run_id = f"experiment-{self._count}"
        # Many attempts: on a machine that is this busy a lease of two seconds gets lost as well.
        spec = small(
            ROLLOUT_STEPS if samples else STEPS,
            train=ROLLOUTS if samples else {},
            cache=False,
            retry={"max_attempts": 20, "initial_backoff": 0.1},
            execution={kind: {"threads": 1} for kind in ("train", "infer", "judge")},
        )

        def create() -> str:
            deadline = time.monotonic() + MOMENT_SECONDS
            with self._cluster.client() as client:
                while True:
                    try:
                        run = client.create_run(spec, run_id=run_id, request_id=run_id)
                        return str(run.name)
                    except (Unavailable, DeadlineExceeded):
                        if time.monotonic() > deadline:
                            raise

        pool = ThreadPoolExecutor(1)
        submitted = pool.submit(create)
        pool.shutdown(wait=False)
        return submitted

    def _until_terminal(self, client: tailrace.Client, name: str) -> run_pb2.Run:
        deadline = time.monotonic() + RUN_SECONDS
        run = None
        while time.monotonic() < deadline:
            self._cluster.tend()
            with contextlib.suppress(Unavailable, DeadlineExceeded):
                run = client.get_run(name)
                if run.state in TERMINAL:
                    return run
            time.sleep(0.1)
        assert run is not None, f"{name} cannot be had"
        raise TimeoutError(f"{name} is {state(run)} with {stage_states(run)}:\n{run}")

    @contextlib.contextmanager
    def _armed(self, moments: Iterable[str]) -> Iterator[None]:
        folder = self._cluster.faults
        for moment in moments:
            (folder / f"{moment}.armed").touch()
        try:
            yield
        finally:
            for path in folder.iterdir():
                path.unlink(missing_ok=True)
