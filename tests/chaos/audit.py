"""What must hold after every fault, whatever it was."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

import tailrace
from services.storage.engine.database import Database
from services.storage.rows.attempts import attempts
from services.storage.rows.outbox import outbox
from tailrace.formats.canonical import extend_chain
from tailrace.v1 import run_pb2
from tests.chaos.cluster import Cluster
from tests.integration.specs import stage_states, state
from tests.servers.node import wait_until

SETTLE_SECONDS = 60.0
"""How long processes, leases and temporary files of an ended run may take to be gone."""


@dataclass
class Findings:
    """What was found wrong, by the promise that it breaks."""

    lost: list[str] = field(default_factory=list)
    """A run that did not end well, or a result that is not that of the undisturbed run."""
    double: list[str] = field(default_factory=list)
    """An effect that took place twice."""
    gaps: list[str] = field(default_factory=list)
    """A log or a curve with something missing or repeated."""
    left: list[str] = field(default_factory=list)
    """A process, lease, queued message or temporary file that stayed behind."""

    def all(self) -> list[str]:
        """Everything, each with its promise."""
        return [f"{name}: {text}" for name, texts in vars(self).items() for text in texts]

    def __add__(self, other: Findings) -> Findings:
        """What either found."""
        return Findings(*(mine + vars(other)[name] for name, mine in vars(self).items()))


@dataclass(frozen=True)
class Outcome:
    """What a run made, as far as it must not depend on faults."""

    weights: str
    predictions: tuple[tuple[str, ...], ...]
    verdicts: tuple[tuple[str, ...], ...]


def outcome(client: tailrace.Client, run: run_pb2.Run) -> Outcome:
    """What a run made."""
    results = {stage.id: stage.result for stage in run.stages}
    return Outcome(
        results["train"].train.model_digest,
        tuple((p.eval_set, p.example_id, p.text) for p in client.list_predictions(run.name)),
        tuple(
            (v.eval_set, v.example_id, v.judge, str(v.outcome), v.extracted)
            for v in client.list_verdicts(run.name)
        ),
    )


def audit(cluster: Cluster, client: tailrace.Client, run: run_pb2.Run, sound: Outcome) -> Findings:
    """Hold a run that has ended, and what it left, against the promises."""
    found = Findings()
    if state(run) != "succeeded":
        found.lost.append(f"{run.name} is {state(run)} with {stage_states(run)}: {run.error}")
        return found
    made = outcome(client, run)
    for name in ("weights", "predictions", "verdicts"):
        if getattr(made, name) != getattr(sound, name):
            found.lost.append(f"{run.name}: {name} differ: {getattr(made, name)!r:.300}")
    found += told_once(client, run)
    _leftovers(cluster, client, run, found)
    return found


def told_once(client: tailrace.Client, run: run_pb2.Run) -> Findings:
    """Whether each stage took effect once, and each line and point is there once."""
    found = Findings()
    _completions(run, found)
    _logs(client, run, found)
    _curve(client, run, found)
    return found


def _completions(run: run_pb2.Run, found: Findings) -> None:
    ended = Counter(t.stage for t in run.history if t.to_state == "STAGE_STATE_SUCCEEDED")
    for stage in run.stages:
        good = [a for a in stage.attempts if a.state == run_pb2.ATTEMPT_STATE_SUCCEEDED]
        if ended[stage.id] != 1 or len(good) != 1:
            text = f"completed {ended[stage.id]} times by {len(good)} attempts"
            found.double.append(f"{run.name}: stage {stage.id} {text}")


def _logs(client: tailrace.Client, run: run_pb2.Run, found: Findings) -> None:
    """Every attempt's log is contiguous, ends with its marker, and tells each step once."""
    lines: dict[tuple[str, int], list[str]] = {}
    ends: dict[tuple[str, int], run_pb2.LogEnd] = {}
    for batch in client.stream_logs(run.name):
        key = (batch.stage, batch.attempt)
        told = lines.setdefault(key, [])
        for line in batch.lines:
            told.append(line.text)
            if line.sequence != len(told):
                found.gaps.append(f"{run.name} {key}: line {line.sequence} came as {len(told)}")
        if batch.HasField("end"):
            ends[key] = batch.end
    for stage in run.stages:
        for attempt in stage.attempts:
            key = (stage.id, attempt.number)
            told, end = lines.get(key, []), ends.get(key)
            digest = extend_chain(b"", (line.encode() for line in told)).hex() if told else ""
            if end is None or (end.line_count, end.digest) != (len(told), digest):
                found.gaps.append(f"{run.name} {key}: {len(told)} lines, digest {digest}, {end}")
            steps = [int(m[1]) for line in told if (m := re.match(r"step +(\d+)/", line))]
            _contiguous(steps, f"{run.name} {key}: log", found)
            if stage.id == "train" and attempt.state == run_pb2.ATTEMPT_STATE_SUCCEEDED:
                _whole(steps, stage.result.train, f"{run.name} {key}: log", found)


def _curve(client: tailrace.Client, run: run_pb2.Run, found: Findings) -> None:
    """The loss of every step of the attempt that ended the training, once."""
    train = next(stage for stage in run.stages if stage.id == "train")
    steps: dict[int, list[int]] = {}
    for batch in client.stream_metrics(run.name, metric_names=["loss"]):
        steps.setdefault(batch.attempt, []).extend(point.step for point in batch.points)
    for attempt in train.attempts:
        told = steps.get(attempt.number, [])
        _contiguous(told, f"{run.name} attempt {attempt.number}: loss", found)
        if attempt.state == run_pb2.ATTEMPT_STATE_SUCCEEDED:
            _whole(told, train.result.train, f"{run.name} {attempt.number}: loss", found)


def _contiguous(steps: list[int], where: str, found: Findings) -> None:
    if steps and steps != list(range(steps[0], steps[0] + len(steps))):
        found.gaps.append(f"{where} of steps {steps}")


def _whole(steps: list[int], result: object, where: str, found: Findings) -> None:
    first = getattr(result, "resumed_from_step", 0) + 1
    last = getattr(result, "steps", 0)
    if steps != list(range(first, last + 1)):
        found.gaps.append(f"{where} of steps {steps}, not {first} to {last}")


def _leftovers(
    cluster: Cluster, client: tailrace.Client, run: run_pb2.Run, found: Findings
) -> None:
    left: list[str] = []

    def clean() -> bool:
        left[:] = [
            *_leases(client),
            *asyncio.run(_rows(cluster, run.uid)),
            *_processes(cluster),
            *_files(cluster),
        ]
        return not left

    with contextlib.suppress(TimeoutError):
        wait_until(clean, "a clean end", SETTLE_SECONDS)
    found.left += left


def _leases(client: tailrace.Client) -> list[str]:
    return [
        f"{worker.name} holds {slot.stage}"
        for worker in client.list_workers()
        for slot in worker.slots
        if slot.stage
    ]


async def _rows(cluster: Cluster, run_uid: str) -> list[str]:
    database = Database(cluster.direct_database_url)
    try:
        async with database.read() as conn:
            queued = sa.select(sa.func.count()).where(outbox.c.run_uid == run_uid)
            running = sa.select(sa.func.count()).where(
                attempts.c.run_uid == run_uid, attempts.c.state == "RUNNING"
            )
            counts = {
                "queued attempts": await conn.scalar(queued),
                "living leases": await conn.scalar(running),
            }
    finally:
        await database.close()
    return [f"{count} {what}" for what, count in counts.items() if count]


def _processes(cluster: Cluster) -> list[str]:
    left = {process.pid for process in (*cluster.inhabitants(), *cluster.orphans())}
    return [f"process {pid}" for pid in left]


def _files(cluster: Cluster) -> list[str]:
    cache = Path(cluster.env["TAILRACE_CACHE_DIR"])
    folders = [cluster.data_disk.folder / "uploads", cache / "incoming"]
    found = [p for folder in folders if folder.is_dir() for p in folder.iterdir()]
    for disk in cluster.disks.values():
        # A slot's home folder outlives its attempts.
        homes = set(disk.folder.rglob("*.home"))
        found += [
            p
            for p in disk.folder.rglob("*")
            if p.is_dir() and "." in p.name and homes.isdisjoint({p, *p.parents})
        ]
    return [f"file {path}" for path in found]
