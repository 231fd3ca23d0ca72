"""Promotion of runs to model versions, aliases of versions, and the lineage of a version."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.caller import Caller
from services.domain.content.artifact import Artifact
from services.domain.content.model import AliasMove, Model, ModelReference
from services.domain.errors import FailedPrecondition, InvalidInput
from services.domain.gate import GateOutcome
from services.domain.names import description_violations, id_violations
from services.domain.run import Run, RunModel, RunState
from services.storage.blobs.store import BlobStore, read_all
from services.storage.engine.columns import utc_now
from services.storage.rows import model_aliases, runs, stages
from services.storage.rows import models as store
from services.storage.rows.access import audit
from services.usecases.content.models import pinned
from services.usecases.context import Context
from services.usecases.runs.model_source import SourceRun, find_source, run_model
from tailrace.formats.model.files import document_limit
from tailrace.formats.model.folder import CONFIG_FILE
from tailrace.formats.schema import Violation
from tailrace.formats.spec.run_spec import StageKind

MAX_LINEAGE = 50
"""Maximum number of steps in a lineage."""


@dataclass(frozen=True)
class Promotion:
    """Request to make a run's final model a version of a model."""

    run_id: str
    model_id: str
    description: str
    force: bool
    """True to promote a run without gates, or one that does not pass them."""
    reason: str
    """Reason for the use of force."""


@dataclass(frozen=True)
class LineageStep:
    """A training on the way to a model, or the model that the first one started from."""

    run: Run | None
    """Run that trained; None for an imported model, one of the hub, or a preset."""
    model: str
    """Name of the promoted or imported version; empty for a run that was not promoted."""
    base: str
    """Model that the training started from, as the spec names it; or the first model."""
    scores: list[dict[str, Any]]
    """Scores of the run's judges, plain data as in the API."""


async def promote(context: Context, caller: Caller, command: Promotion) -> Model:
    """Store a run's final model as the next version; promoting it again returns that version.

    Raises:
        InvalidInput: The id or the description is not valid, or force has no reason.
        NotFound: The run does not exist.
        FailedPrecondition: The run has not succeeded (RUN_NOT_SUCCEEDED), trains no model
            (NO_MODEL), or has not passed gates (GATES_NOT_PASSED).
    """
    violations = [
        *id_violations("model_id", command.model_id),
        *description_violations("description", command.description),
        *description_violations("reason", command.reason),
    ]
    if command.force and not command.reason.strip():
        violations.append(Violation("reason", "is required with force: say why (`--reason TEXT`)"))
    if violations:
        raise InvalidInput(violations)
    async with context.database.read() as conn:
        run, artifact = await _promotable(conn, caller.project, command)
    architecture = await _architecture(context.blobs.of(caller.project), artifact)
    async with context.database.write() as conn:
        await store.lock(conn, caller.project, command.model_id)
        newest = await store.find_newest(conn, caller.project, command.model_id)
        if newest is not None and newest.run_uid == run.uid:
            return newest
        model = Model(
            command.model_id,
            command.description,
            architecture,
            artifact,
            utc_now(),
            version=await store.next_version(conn, caller.project, command.model_id),
            run_uid=run.uid,
            force_reason=command.reason if command.force else "",
        )
        await audit.record(conn, caller, model.versioned_name)
        return await store.add_version(conn, caller.project, model)


async def set_alias(context: Context, caller: Caller, name: str, alias: str, version: int) -> Model:
    """Move an alias of a model to a version, in one step; version 0 removes it.

    Returns the version, or the newest one after a removal. Raises ``InvalidInput``, ``NotFound``.
    """
    reference = ModelReference.parse(name, "name")
    violations = id_violations("alias", alias)
    if reference.version is not None or reference.alias:
        violations.append(Violation("name", "must be models/{model}, without a version"))
    if version < 0:
        violations.append(Violation("version", "must be 0 or more"))
    if violations:
        raise InvalidInput(violations)
    async with context.database.write() as conn:
        await store.lock(conn, caller.project, reference.model_id)
        model = await store.get(conn, caller.project, reference.model_id, version or None)
        if await model_aliases.move(conn, caller.project, reference.model_id, alias, version):
            await audit.record(conn, caller, f"models/{reference.model_id}@{alias}")
    return model


async def aliases_of(
    context: Context, caller: Caller, models: list[Model]
) -> dict[tuple[str, int], list[str]]:
    """Return the aliases of models by id and version."""
    async with context.database.read() as conn:
        return await model_aliases.by_model(conn, caller.project, [m.model_id for m in models])


async def history_of(
    context: Context, caller: Caller, model: Model
) -> tuple[list[LineageStep], list[AliasMove]]:
    """Return the trainings that led to a version, newest first, and the moves of its aliases."""
    async with context.database.read() as conn:
        moves = await model_aliases.list_moves(conn, caller.project, model.model_id)
        return await _lineage(conn, caller.project, model), moves


@dataclass(frozen=True)
class _Beginning:
    """The model that a run started from."""

    name: str
    run: Run | None = None
    """Run that trained it, if it was trained here."""
    model: Model | None = None
    """Its version, if it has one."""


async def _lineage(conn: AsyncConnection, project: str, model: Model) -> list[LineageStep]:
    steps: list[LineageStep] = []
    run = await _run_of(conn, model)
    version = model.versioned_name
    while len(steps) < MAX_LINEAGE:
        if run is None:
            return [*steps, LineageStep(None, version, "", [])]
        beginning = await _beginning(conn, project, run)
        steps.append(LineageStep(run, version, beginning.name, await _scores(conn, run)))
        if beginning.run is None and beginning.model is None:
            return steps
        run = beginning.run
        version = beginning.model.versioned_name if beginning.model else ""
    return steps


async def _beginning(conn: AsyncConnection, project: str, run: Run) -> _Beginning:
    spec = run.resolved_spec.model
    source = spec.source if spec else None
    name = run_model(run.resolved_spec)
    if name is not None:
        other = await find_source(conn, project, name)
        return _Beginning(str(RunModel(other.run.run_id, other.step)), other.run)
    if source is not None and source.startswith("models/"):
        model = await pinned(conn, project, source)
        return _Beginning(model.versioned_name, await _run_of(conn, model), model)
    preset = spec.preset if spec else None
    return _Beginning(source or preset or "")


async def _run_of(conn: AsyncConnection, model: Model) -> Run | None:
    return await runs.find_by_uid(conn, model.run_uid) if model.run_uid else None


async def _scores(conn: AsyncConnection, run: Run) -> list[dict[str, Any]]:
    return [
        score
        for stage in await stages.list_for_run(conn, run.uid)
        if stage.kind is StageKind.JUDGE
        for score in (stage.result or {}).get("judge", {}).get("scores", [])
    ]


async def _promotable(
    conn: AsyncConnection, project: str, command: Promotion
) -> tuple[Run, Artifact]:
    run = await runs.get(conn, project, command.run_id)
    if run.state is not RunState.SUCCEEDED:
        raise FailedPrecondition(
            "RUN_NOT_SUCCEEDED", f"{run.name} is {run.state}: only SUCCEEDED runs are promoted"
        )
    own_stages = await stages.list_for_run(conn, run.uid)
    train_stage = next((stage for stage in own_stages if stage.kind is StageKind.TRAIN), None)
    if train_stage is None:
        raise FailedPrecondition("NO_MODEL", f"{run.name} has no TRAIN stage, and so no model")
    if not command.force:
        _require_gates(run)
    return run, await SourceRun(run, train_stage, None).model(conn)


def _require_gates(run: Run) -> None:
    gates = run.gates or []
    missed = [gate["name"] for gate in gates if gate["outcome"] != GateOutcome.PASSED]
    if gates and not missed:
        return
    problem = f"did not pass {', '.join(missed)}" if missed else "has no gates"
    raise FailedPrecondition(
        "GATES_NOT_PASSED",
        f"{run.name} {problem}: submit a run with gates that it passes, or promote this one all "
        "the same, by force and with a reason (`--force --reason TEXT`)",
    )


async def _architecture(blobs: BlobStore, artifact: Artifact) -> str:
    """Return ``architectures[0]`` of a model's config.json."""
    config = next((file for file in artifact.listing.files if file.path == CONFIG_FILE), None)
    if config is None:
        raise FailedPrecondition("NO_MODEL", f"{artifact.name} has no {CONFIG_FILE}")
    content = await read_all(blobs, config.sha256, document_limit(CONFIG_FILE) or 0)
    try:
        return str((await asyncio.to_thread(json.loads, content))["architectures"][0])[:128]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        problem = f"{artifact.name}: {CONFIG_FILE} names no architecture"
        raise FailedPrecondition("NO_MODEL", problem) from error
