"""A worker's and a client's side of the use cases, for tests: no broker, no gRPC."""

from __future__ import annotations

import copy
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from services.domain.caller import Caller
from services.domain.event import Event, LogLevel, LogLine
from services.domain.stage import StageError
from services.storage.rows import history
from services.usecases.context import Context
from services.usecases.fleet.heartbeat import Directives, Heartbeat, worker_heartbeat
from services.usecases.fleet.register import RegisterWorker, register_worker
from services.usecases.runs.create import CreateRun, create_run
from services.usecases.runs.read import get_run
from services.usecases.runs.view import RunView
from services.usecases.stages.acquire import Acquire, Answer, Order, acquire_stage
from services.usecases.stages.complete import Completion, NewArtifact, complete_stage
from services.usecases.stages.fail import fail_stage, release_stage
from services.usecases.stages.publish import Acknowledgement, Batch, publish_events
from tailrace.formats.catalog import stage_versions_text
from tailrace.formats.dispatch import PROTOCOL_VERSION, TaskId
from tailrace.formats.spec.run_spec import StageKind
from tailrace.formats.stage_protocol import ArtifactKind
from tests.unit.services.usecases.stored_content import put

CALLER = Caller()
PROJECT = CALLER.project

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)

SPEC: dict[str, Any] = {
    "dataset": "golden-v2",
    "model": {"preset": "gpt2-nano"},
    "train": {"max_steps": 10, "eval_fraction": 0.2},
    "infer": {"eval_sets": ["dataset:train", "dataset:held_out"]},
    "judges": [{"name": "answer_correctness"}],
    "retry": {"max_attempts": 2, "initial_backoff": 0.0},
}

RESULTS: dict[str, dict[str, Any]] = {
    "train": {"train": {"steps": 10, "first_loss": 3.5, "last_loss": 0.5}},
    "infer": {"infer": {"predictions": 67}},
    "judge": {"judge": {"scores": []}},
}

OUTPUTS = {
    StageKind.TRAIN: [ArtifactKind.MODEL, ArtifactKind.SPLIT],
    StageKind.INFER: [ArtifactKind.PREDICTIONS],
    StageKind.JUDGE: [ArtifactKind.VERDICTS],
}


def spec(**changes: Any) -> dict[str, Any]:
    """The usual spec with other top-level blocks; ``None`` leaves one out."""
    changed = {**copy.deepcopy(SPEC), **changes}
    return {name: value for name, value in changed.items() if value is not None}


def line(text: str, level: LogLevel = LogLevel.INFO) -> LogLine:
    return LogLine(int(MOMENT.timestamp() * 1_000_000), level, text)


def error(*, retryable: bool = True, reason: str = "STAGE_CRASHED") -> StageError:
    return StageError(13, reason, "it crashed", retryable, exit_code=1, log_tail=["last words"])


class Driver:
    """Drives runs through their stages under one worker."""

    def __init__(
        self,
        context: Context,
        worker_id: str = "w1",
        hostname: str = "host",
        caller: Caller = CALLER,
    ) -> None:
        self.context = context
        self.caller = caller
        self.worker_id = worker_id
        self.hostname = hostname
        self.instance_id = f"the-instance-of-{worker_id}-on-{hostname}"
        self.secret = ""
        self.drained = False

    async def register(
        self,
        pools: tuple[str, ...] = ("cpu",),
        slots: int = 1,
        judges: dict[str, str] | None = None,
        *,
        new_process: bool = False,
    ) -> None:
        command = RegisterWorker(
            worker_id=self.worker_id,
            hostname=self.hostname,
            pools=list(pools),
            slots=[{"id": f"cpu-{i}", "accelerator": "cpu"} for i in range(slots)],
            versions={"tailrace": "0", "stages": stage_versions_text()},
            judges=judges or {},
            protocol_version=PROTOCOL_VERSION,
            instance_id=self.instance_id,
            new_process=new_process,
        )
        registration = await register_worker(self.context, command)
        self.secret, self.drained = registration.secret, registration.drained

    async def beat(self, *leases: object, draining: bool = False, **fields: Any) -> Directives:
        """The worker's heartbeat, with its leases."""
        values = {"quarantine": {}, "secret": self.secret, **fields}
        message = Heartbeat(self.worker_id, list(map(str, leases)), draining=draining, **values)
        return await worker_heartbeat(self.context, message)

    async def create(self, run_id: str = "r", **changes: Any) -> RunView:
        return await self.submit(CreateRun(run_id, spec(**changes)))

    async def submit(self, command: CreateRun) -> RunView:
        return await create_run(self.context, self.caller, command)

    async def get(self, run_id: str = "r") -> RunView:
        return await get_run(self.context, self.caller, run_id)

    async def queued_task(self, run_id: str = "r") -> TaskId:
        """The task of the run's first unfinished stage."""
        view = await self.get(run_id)
        return next(
            v.stage.task_id for v in view.stages if v.stage.state not in ("SUCCEEDED", "SKIPPED")
        )

    async def deliver(
        self, task_id: TaskId, acquire_id: str | None = None, slot: str = "cpu-0"
    ) -> Answer:
        acquire_id = acquire_id or secrets.token_hex(16)
        command = Acquire(task_id, acquire_id, self.worker_id, slot, self.secret)
        return await acquire_stage(self.context, command)

    async def start(self, run_id: str = "r") -> Order:
        """Acquire the run's queued stage."""
        answer = await self.deliver(await self.queued_task(run_id))
        assert isinstance(answer, Order), answer
        return answer

    async def publish(self, order: Order, first: int, *events: Event) -> Acknowledgement:
        return await publish_events(self.context, Batch(str(order.lease), first, events))

    async def completion(self, order: Order, *, last_event: int = 0) -> Completion:
        outputs = []
        for kind in OUTPUTS[order.stage.kind]:
            outputs.append(
                NewArtifact(kind, [await self.upload(f"{kind}.json", f"{kind}".encode())])
            )
        successor = "" if order.successor is None else str(order.successor)
        stage_id = order.stage.stage_id
        return Completion(str(order.lease), RESULTS[stage_id], outputs, last_event, successor)

    async def upload(self, path: str, content: bytes) -> Any:
        return await put(self.context, path, content, self.caller.project)

    async def complete(
        self, order: Order, result: dict[str, Any] | None = None, *, last_event: int = 0
    ) -> bool:
        completion = await self.completion(order, last_event=last_event)
        if result is not None:
            completion = replace(completion, result={order.stage.kind.value: result})
        return await complete_stage(self.context, completion)

    async def fail(self, order: Order, *, retryable: bool = True) -> bool:
        return await fail_stage(self.context, str(order.lease), error(retryable=retryable))

    async def release(self, order: Order, reason: str = "DRAINED") -> None:
        await release_stage(self.context, str(order.lease), reason)

    async def history(self, run_id: str = "r") -> list[tuple[str, str, str]]:
        view = await self.get(run_id)
        async with self.context.database.read() as conn:
            transitions = await history.list_for_run(conn, view.run)
        return [(t.stage, t.from_state, t.to_state) for t in transitions]


def states(view: RunView) -> tuple[str, ...]:
    """The run's state and its stages' states."""
    return (view.run.state.value, *(v.stage.state.value for v in view.stages))
