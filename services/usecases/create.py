"""CreateRun: accept a run durably."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import AlreadyExists, InvalidInput, TailraceError
from services.domain.run import Run, RunState, check_run_id, new_run_id, new_run_uid
from services.domain.stage import Stage, StageState
from services.storage import outbox, runs, stages
from services.storage.database import advisory_lock, utc_now
from services.usecases.advance import advance
from services.usecases.cache import find_result, stage_key
from services.usecases.context import Context
from services.usecases.lifecycle import Held
from services.usecases.quota import check_runs
from services.usecases.resolve import resolve_spec, unknown_judges
from services.usecases.view import RunView, StageView, view, view_of_new
from services.wakeups import OUTBOX
from tailrace.formats.canonical import sha256_json
from tailrace.formats.run_spec import RunSpec, StageExecution, StageKind
from tailrace.formats.schema import SpecError, Violation, parse, to_mapping

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
    sent = dict(command.spec or {})
    spec = await _checked(context, command)
    digest = sha256_json({"run_id": command.run_id, "spec": sent})
    if command.validate_only:
        async with context.database.read() as conn:
            run, new_stages = await _build(conn, project, command, spec, sent)
        return RunView(run, [StageView(stage, [], "") for stage in new_stages], [])
    try:
        async with context.database.write() as conn:
            run, new_stages = await _build(conn, project, command, spec, sent)
            await check_runs(conn, context.settings, project, spec.labels)
            if not await runs.add(conn, run, spec.labels):
                raise AlreadyExists("RUN_EXISTS", f"{run.name} exists: choose another run_id")
            created = await _begin(conn, context, run, new_stages)
            if command.request_id:
                request = runs.Request(digest, run.uid)
                await runs.add_request(conn, project, METHOD, command.request_id, request)
    except TailraceError:
        # Looking for the request id first would cost every call what only repeated ones need.
        repeated = await _repeated(context, project, command.request_id, digest)
        if repeated is None:
            raise
        return repeated
    context.wakeups.wake(OUTBOX)
    return created


async def _begin(
    conn: AsyncConnection, context: Context, run: Run, new_stages: list[Stage]
) -> RunView:
    """Store the stages and queue the first, unless its result is known; the run as it then is."""
    first = new_stages[0]
    pending = dataclasses.replace(first, state=StageState.PENDING, queue_time=None)
    held = Held(run, [pending, *new_stages[1:]])
    key = await stage_key(conn, held, first)
    if await find_result(conn, context.blobs, run, key) is None:
        queued = dataclasses.replace(first, cache_key=key)
        await stages.add(conn, run.project, [queued, *new_stages[1:]])
        await outbox.add(conn, run.project, queued, run.create_time, first=True)
        return await view_of_new(conn, run, [queued, *new_stages[1:]])
    await stages.add(conn, run.project, held.stages)
    held, _ = await advance(conn, context, held, "its inputs are there", first=True)
    return await view(conn, held.run)


async def _repeated(context: Context, project: str, request_id: str, digest: str) -> RunView | None:
    """The run that an earlier call with this request id made; ``None`` if there was none."""
    if not request_id:
        return None
    async with context.database.write() as conn:
        run = await repeated_request(conn, project, METHOD, request_id, digest)
        return None if run is None else await view(conn, run)


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


async def _checked(context: Context, command: CreateRun) -> RunSpec:
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
    if violations or spec is None:
        async with context.database.read() as conn:
            violations += await unknown_judges(conn, _judge_names(command.spec))
        raise InvalidInput(violations)
    return spec


def _judge_names(spec: Mapping[str, Any] | None) -> list[str]:
    """The judges that a wrong spec names; none if they cannot be read."""
    judges = (spec or {}).get("judges")
    if not isinstance(judges, list) or not all(isinstance(judge, Mapping) for judge in judges):
        return []
    names = [judge.get("name") for judge in judges]
    return names if all(isinstance(name, str) and name for name in names) else []


async def _build(
    conn: AsyncConnection, project: str, command: CreateRun, spec: RunSpec, sent: dict[str, Any]
) -> tuple[Run, list[Stage]]:
    spec = await resolve_spec(conn, project, spec)
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
