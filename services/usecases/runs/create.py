"""CreateRun: accept a run durably."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from services.domain.caller import Caller
from services.domain.content.chat_template import template_problem
from services.domain.errors import DomainError, InvalidInput
from services.domain.run import check_run_id
from services.runtime.off_loop import run_off_loop
from services.storage.rows import capacity
from services.usecases.context import Context
from services.usecases.quotas.runs import counts_unfinished, place_wait
from services.usecases.runs.accept import NewRun, accept_runs, plan_run
from services.usecases.runs.model_source import run_model, source_wait
from services.usecases.runs.request_ids import request_id_violations
from services.usecases.runs.resolve import unknown_judges
from services.usecases.runs.view import RunView, view_of_planned
from tailrace.formats.canonical import sha256_json
from tailrace.formats.model.chat_template import is_template_text
from tailrace.formats.schema import SpecError, Violation, parse
from tailrace.formats.spec.run_spec import ModelSpec, RunSpec


@dataclass(frozen=True)
class CreateRun:
    """Request for a new run."""

    run_id: str
    """Requested id; empty for a generated one."""
    spec: Mapping[str, Any] | None
    """Spec as the client sent it, plain data."""
    request_id: str = ""
    """Id that makes the call repeatable; empty if it need not be."""
    validate_only: bool = False
    """True to check everything and store nothing."""
    size: int = 0
    """Size of the request in bytes."""


async def create_run(context: Context, caller: Caller, command: CreateRun) -> RunView:
    """Store a run, its stages and the first one's outbox entry in one transaction.

    Raises:
        InvalidInput: Names every wrong field.
        NotFound: The spec names a dataset, eval set, model, run or baseline that does not exist.
        FailedPrecondition: A run that the spec names has no predictions, or ended without a model
            (SOURCE_RUN_FAILED, SOURCE_RUN_CANCELLED).
        AlreadyExists: The run id or the request id is taken (RUN_EXISTS, REQUEST_ID_REUSED).
        QuotaExceeded: There are too many unfinished runs (TOO_MANY_RUNS).
    """
    new_run = await _checked(context, caller, command)
    if command.validate_only:
        async with context.database.read() as conn:
            run, new_stages = await plan_run(conn, context, new_run)
            waits = await source_wait(conn, run, new_stages)
            waits = waits or await place_wait(conn, context, run.project)
            return view_of_planned(run, new_stages, await capacity.read(conn), waits)
    if run_model(new_run.spec) is not None:
        # Alone in its transaction, it locks one source run: two could deadlock with a completion.
        (outcome,) = await accept_runs(context, [new_run])
        if isinstance(outcome, DomainError):
            raise outcome
        return outcome
    return await context.groups.submit(context, accept_runs, new_run, key=_key(context, new_run))


def _key(context: Context, new_run: NewRun) -> Hashable:
    """Return the key that keeps two runs out of one transaction; ``None`` where they may share."""
    if counts_unfinished(context, new_run.project):
        # A quota counts stored runs: each run has to see the one before it.
        return new_run.project
    # Likewise, a call must see the earlier one that used the same request id.
    return new_run.request_key if new_run.request_id else None


async def _checked(context: Context, caller: Caller, command: CreateRun) -> NewRun:
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
            spec = await run_off_loop(command.size, parse, RunSpec, command.spec)
        except SpecError as error:
            violations += [Violation(f"spec.{v.field}", v.description) for v in error.violations]
        else:
            violations += await run_off_loop(command.size, _template_violations, spec.model)
    if violations or spec is None:
        async with context.database.read() as conn:
            violations += await unknown_judges(conn, _judge_names(command.spec))
        raise InvalidInput(violations)
    original_spec = dict(command.spec or {})
    # Stored with each request id: the names must stay.
    request = {"run_id": command.run_id, "spec": original_spec}
    digest = await run_off_loop(command.size, sha256_json, request)
    return NewRun(caller, command.run_id, spec, original_spec, command.request_id, digest)


def _template_violations(model: ModelSpec | None) -> list[Violation]:
    """Return the violation of a chat template that cannot render any prompt."""
    template = None if model is None else model.chat_template
    if template is None or not is_template_text(template):
        return []
    problem = template_problem(template)
    return [Violation("spec.model.chat_template", problem)] if problem else []


def _judge_names(spec: Mapping[str, Any] | None) -> list[str]:
    """Return the names of judges in an invalid spec; none if they cannot be read."""
    judges = (spec or {}).get("judges")
    if not isinstance(judges, list) or not all(isinstance(judge, Mapping) for judge in judges):
        return []
    names = [judge.get("name") for judge in judges]
    return names if all(isinstance(name, str) and name for name in names) else []
