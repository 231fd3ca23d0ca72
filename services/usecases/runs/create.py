"""CreateRun: accept a run durably."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import InvalidInput
from services.domain.run import Run, check_run_id
from services.runtime.meanwhile import apart
from services.storage.engine.locks import advisory_lock
from services.storage.rows import capacity, requests, runs
from services.usecases.context import Context
from services.usecases.runs.accept import Submission, accept, build, check_repeated
from services.usecases.runs.resolve import unknown_judges
from services.usecases.runs.view import RunView, view_of_planned
from tailrace.formats.canonical import sha256_json
from tailrace.formats.schema import SpecError, Violation, parse
from tailrace.formats.spec.run_spec import RunSpec

Response = TypeVar("Response")


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
    size: int = 0
    """Size of the request in bytes."""


async def create_run(
    context: Context, project: str, command: CreateRun, respond: Callable[[RunView], Response]
) -> Response:
    """Store a run, its stages and the first one's outbox entry in one transaction.

    Returns what ``respond`` makes of the run, during the commit.

    Raises ``InvalidInput`` with every wrong field, ``NotFound`` (dataset, model) and
    ``AlreadyExists`` (RUN_EXISTS, REQUEST_ID_REUSED).
    """
    sent = dict(command.spec or {})
    spec = await _checked(context, command)
    asked = {"run_id": command.run_id, "spec": sent}
    digest = await apart(command.size, sha256_json, asked)
    submission = Submission(
        project, command.run_id, spec, sent, command.request_id, digest, respond
    )
    if command.validate_only:
        async with context.database.read() as conn:
            run, new_stages = await build(conn, context, submission)
            now = await capacity.look(conn)
        return respond(view_of_planned(run, new_stages, now))
    response: Response = await (await context.groups.submit(context, accept, submission))
    return response


async def repeated_request(
    conn: AsyncConnection, project: str, method: str, request_id: str, digest: str
) -> Run | None:
    """The run that an earlier call with this request id was about; ``None`` for a first call.

    Holds the request id until the transaction ends. Raises ``AlreadyExists`` (REQUEST_ID_REUSED)
    when that call asked for something else.
    """
    await advisory_lock(conn, f"request:{project}:{method}:{request_id}")
    request = await requests.find_request(conn, project, method, request_id)
    if request is None:
        return None
    check_repeated(method, request_id, request, digest)
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
            spec = await apart(command.size, parse, RunSpec, command.spec)
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
