"""CreateRun: accept a run durably."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import AlreadyExists, InvalidInput
from services.domain.run import Run, RunState, check_run_id, new_run_id, new_run_uid
from services.domain.stage import Stage, StageState
from services.storage import outbox, runs, stages, workers
from services.storage.database import advisory_lock, utc_now
from services.usecases import datasets, models
from services.usecases.context import Context
from services.usecases.view import RunView, StageView, view
from services.wakeups import OUTBOX
from tailrace.formats import catalog
from tailrace.formats.canonical import sha256_json
from tailrace.formats.run_spec import RunSpec, StageExecution, StageKind
from tailrace.formats.schema import SpecError, Violation, parse, to_mapping
from tailrace.formats.wording import unknown_name

METHOD = "CreateRun"
"""Under which request ids are remembered."""


@dataclass(frozen=True)
class CreateRun:
    """What the caller asks for."""

    run_id: str
    """Id wanted; empty for any."""
    spec: Mapping[str, Any] | None
    """The spec, plain data, as it was sent."""
    request_id: str = ""
    """Makes the call repeatable; empty if it need not be."""
    validate_only: bool = False
    """Check everything, store nothing."""


async def create_run(context: Context, project: str, command: CreateRun) -> RunView:
    """Store a run, its stages and the first one's outbox entry in one transaction.

    Raises ``InvalidInput`` with every wrong field, ``NotFound`` (dataset, model) and
    ``AlreadyExists`` (RUN_EXISTS, REQUEST_ID_REUSED).
    """
    spec = _checked(command)
    sent = dict(command.spec or {})
    digest = sha256_json({"run_id": command.run_id, "spec": sent})
    if command.validate_only:
        async with context.database.read() as conn:
            run, new_stages = await _build(conn, project, command, spec, sent)
        return RunView(run, [StageView(stage, [], "") for stage in new_stages], [])
    async with context.database.write() as conn:
        if command.request_id:
            repeated = await repeated_request(conn, project, METHOD, command.request_id, digest)
            if repeated is not None:
                return await view(conn, repeated)
        run, new_stages = await _build(conn, project, command, spec, sent)
        if not await runs.add(conn, run, spec.labels):
            raise AlreadyExists("RUN_EXISTS", f"{run.name} exists: choose another run_id")
        await stages.add(conn, project, new_stages)
        await outbox.add(conn, project, new_stages[0], run.create_time, first=True)
        if command.request_id:
            request = runs.Request(digest, run.uid)
            await runs.add_request(conn, project, METHOD, command.request_id, request)
        created = await view(conn, run)
    context.wakeups.wake(OUTBOX)
    return created


def is_imported(source: str | None) -> bool:
    """Whether a spec's model source was imported here, and is not a preset or one of the hub's."""
    return source is not None and source.startswith("models/")


async def repeated_request(
    conn: AsyncConnection, project: str, method: str, request_id: str, digest: str
) -> Run | None:
    """The run that an earlier call with this request id was about; ``None`` for a first call.

    Holds the request id until the transaction ends. Raises ``AlreadyExists`` (REQUEST_ID_REUSED)
    when that call asked for something else.
    """
    await advisory_lock(conn, f"request:{project}:{method}:{request_id}")
    request = await runs.find_request(conn, project, method, request_id)
    if request is None:
        return None
    if request.digest != digest:
        raise AlreadyExists(
            "REQUEST_ID_REUSED", f"request_id {request_id!r} was used for another {method} request"
        )
    return await runs.by_uid(conn, request.run_uid)


def request_id_violations(request_id: str) -> list[Violation]:
    """What is wrong with a request id (AIP-155)."""
    if re.fullmatch(r"[!-~ ]{0,128}", request_id):
        return []
    return [Violation("request_id", "must be at most 128 printable ASCII characters")]


def _checked(command: CreateRun) -> RunSpec:
    violations = request_id_violations(command.request_id)
    if command.run_id:
        try:
            check_run_id(command.run_id, "run_id")
        except InvalidInput as error:
            violations += error.violations
    spec = None
    if command.spec is None:
        violations.append(Violation("spec", "is required"))
    else:
        try:
            spec = parse(RunSpec, command.spec)
        except SpecError as error:
            violations += [Violation(f"spec.{v.field}", v.description) for v in error.violations]
    if spec is not None:
        violations += [
            Violation(f"spec.{name}", "is not supported by this control plane yet")
            for name in ("gates", "predictions")
            if getattr(spec, name)
        ]
    if violations or spec is None:
        raise InvalidInput(violations)
    return spec


async def _build(
    conn: AsyncConnection, project: str, command: CreateRun, spec: RunSpec, sent: dict[str, Any]
) -> tuple[Run, list[Stage]]:
    spec = await _resolved(conn, project, spec)
    now = utc_now()
    run = Run(
        uid=new_run_uid(),
        project=project,
        run_id=command.run_id or new_run_id(),
        spec=sent,
        resolved_spec=to_mapping(spec),
        state=RunState.QUEUED,
        revision=1,
        create_time=now,
        start_time=None,
        end_time=None,
        update_time=now,
    )
    return run, [_stage(run, spec, i, kind) for i, kind in enumerate(spec.stage_kinds())]


async def _resolved(conn: AsyncConnection, project: str, spec: RunSpec) -> RunSpec:
    """The spec with the dataset's version fixed; everything that it names exists."""
    await _check_judges(conn, spec)
    source = spec.model.source if spec.model else None
    if source is not None and is_imported(source):
        await models.resolve(conn, project, source)
    if spec.dataset is None:
        return spec
    dataset = await datasets.resolve(conn, project, spec.dataset)
    _check_split(spec, dataset.content.prompt_count)
    return dataclasses.replace(spec, dataset=f"{dataset.dataset_id}@{dataset.version}")


async def _check_judges(conn: AsyncConnection, spec: RunSpec) -> None:
    """Every judge must be built in, or be one that a live worker has."""
    foreign = {name for worker in await workers.live(conn) for name in worker.judges}
    known = (*catalog.JUDGES, *sorted(foreign))
    problems = [unknown_name(judge.name, known) for judge in spec.judges]
    violations = [
        Violation(f"spec.judges[{i}].name", problem)
        for i, problem in enumerate(problems)
        if problem
    ]
    if violations:
        raise InvalidInput(violations)


def _check_split(spec: RunSpec, prompts: int) -> None:
    if spec.train is None or spec.train.eval_fraction == 0:
        return
    held_out = round(spec.train.eval_fraction * prompts)
    if 0 < held_out < prompts:
        return
    part = "held-out" if held_out == 0 else "train"
    raise InvalidInput.field(
        "spec.train.eval_fraction",
        f"leaves the {part} part empty: {spec.dataset} has {prompts} distinct prompts",
    )


def _stage(run: Run, spec: RunSpec, ordinal: int, kind: StageKind) -> Stage:
    execution: StageExecution = getattr(spec.execution, kind.value)
    first = ordinal == 0
    return Stage(
        run_uid=run.uid,
        stage_id=kind.value,
        ordinal=ordinal,
        kind=kind,
        pool=execution.pool,
        state=StageState.QUEUED if first else StageState.PENDING,
        attempt=1,
        failures=0,
        max_attempts=spec.retry.max_attempts,
        progress=None,
        error=None,
        result=None,
        cached_from="",
        queue_time=run.create_time if first else None,
        start_time=None,
        end_time=None,
    )
