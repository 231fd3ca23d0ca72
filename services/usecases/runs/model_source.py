"""Models of other runs that a run starts from: ``runs/{run}`` and ``runs/{run}@{step}``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.content.artifact import Artifact, Listing
from services.domain.errors import FailedPrecondition, InvalidInput, NotFound
from services.domain.run import Run, RunModel, RunState
from services.domain.stage import Stage, StageState, next_unfinished
from services.storage.rows import artifacts, runs, stages
from tailrace.formats.listing import FileEntry
from tailrace.formats.model.adapter import ADAPTER_FOLDER, UNMERGED_FOLDER
from tailrace.formats.spec.model_spec import AdapterUse, ModelSpec
from tailrace.formats.spec.run_spec import RunSpec, StageKind
from tailrace.formats.stage_protocol import ArtifactKind

FIELD = "spec.model.source"
"""Field that names the model."""


@dataclass(frozen=True)
class SourceRun:
    """A run whose model another run starts from."""

    run: Run
    train_stage: Stage
    step: int | None
    """Step of a checkpoint; None for the final model."""

    @property
    def _names(self) -> str:
        return f"{FIELD}: {self.run.name}"

    @property
    def _way_out(self) -> str:
        return (
            f"{self._names} is {self.run.state}: retry it (`tailrace runs retry "
            f"{self.run.run_id}`), or start from one of its checkpoints, {self.run.name}@STEP"
        )

    async def model(self, conn: AsyncConnection) -> Artifact:
        """Return the final model. Raises ``NotFound`` (ARTIFACT_NOT_FOUND)."""
        models = await artifacts.list_for_run(
            conn,
            self.run.project,
            self.run.uid,
            stage=self.train_stage.stage_id,
            attempt=self.train_stage.attempt,
            kind=ArtifactKind.MODEL,
        )
        if not models:
            raise NotFound("ARTIFACT_NOT_FOUND", f"{self._names} has no final model")
        return models[0]

    async def adapted_base(self, conn: AsyncConnection, base: Artifact) -> Artifact:
        """Return the model that the run started from, with the adapter that the run trained.

        ``base`` may have an earlier adapter, which the run's own replaces. The files are those of
        an adapter that is imported on its base model.
        """
        final = await self.model(conn)
        trained = [
            FileEntry(
                UNMERGED_FOLDER + path.removeprefix(ADAPTER_FOLDER), file.sha256, file.size_bytes
            )
            for file in final.listing.files
            if (path := file.path).startswith(f"{ADAPTER_FOLDER}/")
        ]
        plain = [
            file
            for file in base.listing.files
            if not file.path.startswith((f"{UNMERGED_FOLDER}/", f"{ADAPTER_FOLDER}/"))
        ]
        return replace(final, listing=Listing.of([*plain, *trained]))

    async def checkpoint(self, conn: AsyncConnection) -> Artifact | None:
        """Return the checkpoint of the step, if it is saved."""
        checkpoints = await self._checkpoints(conn)
        return next((saved for saved in reversed(checkpoints) if saved.step == self.step), None)

    async def is_ready(self, conn: AsyncConnection) -> bool:
        """Return whether the model exists; False while the run may still produce it.

        Raises:
            NotFound: The run has succeeded without the checkpoint (CHECKPOINT_NOT_FOUND).
            FailedPrecondition: The run ended without a result (SOURCE_RUN_FAILED,
                SOURCE_RUN_CANCELLED).
        """
        if self.step is not None and await self.checkpoint(conn) is not None:
            return True
        state = self.run.state
        if state is RunState.FAILED:
            raise FailedPrecondition("SOURCE_RUN_FAILED", self._way_out)
        if state is RunState.CANCELLED:
            raise FailedPrecondition("SOURCE_RUN_CANCELLED", self._way_out)
        if state is not RunState.SUCCEEDED:
            return False
        if self.step is not None:
            steps = sorted({saved.step for saved in await self._checkpoints(conn)})
            saved_steps = ", ".join(map(str, steps[-20:])) or "none"
            raise NotFound(
                "CHECKPOINT_NOT_FOUND",
                f"{self._names} has no checkpoint of step {self.step} (saved: {saved_steps})",
            )
        return True

    async def _checkpoints(self, conn: AsyncConnection) -> list[Artifact]:
        # A reused TRAIN stage has the checkpoints of the run that executed it.
        uid = self.train_stage.cached_run_uid or self.run.uid
        return await artifacts.list_for_run(
            conn,
            self.run.project,
            uid,
            stage=self.train_stage.stage_id,
            kind=ArtifactKind.CHECKPOINT,
        )


def run_model(spec: RunSpec) -> str | None:
    """Return the run's model that the stages of a spec start from, if it is one."""
    source = spec.model.source if spec.model and spec.predictions is None else None
    return source if RunModel.is_named(source) else None


async def pin_source(conn: AsyncConnection, project: str, model: ModelSpec) -> str:
    """Return the source of a model with the run's uid, which is never used again.

    Raises:
        InvalidInput: The source has no step or run of a valid form, or the run trains no model, or
            no adapter that can be continued.
        NotFound: The run does not exist (RUN_NOT_FOUND).
    """
    named = RunModel.parse(model.source or "", FIELD)
    found_run = await runs.get(conn, project, named.run_id)
    if await _train_stage(conn, found_run) is None:
        raise InvalidInput.field(
            FIELD, f"{found_run.name} trains no model: name the model that it starts from"
        )
    if named.step is not None and RunModel.is_named(_own_source(found_run)):
        await _require_final(found_run)
    if model.adapter is AdapterUse.CONTINUE:
        _require_adapter(found_run, named)
    return str(RunModel(found_run.uid, named.step))


async def find_source(
    conn: AsyncConnection, project: str, source: str, *, lock: bool = False
) -> SourceRun:
    """Return the run of a pinned source.

    Args:
        conn: The transaction.
        project: Project of the run.
        source: ``model.source`` of a resolved spec.
        lock: Keep the run from changing its state until the transaction ends.
    """
    named = RunModel.parse(source, FIELD)
    if lock:
        await runs.lock_shared(conn, named.run_id)
    source_run = await runs.get(conn, project, named.run_id)
    train_stage = await _train_stage(conn, source_run)
    if train_stage is None:
        raise RuntimeError(f"run {source_run.uid} lost its TRAIN stage")
    return SourceRun(source_run, train_stage, named.step)


async def source_wait(conn: AsyncConnection, run: Run, run_stages: list[Stage]) -> str:
    """Return the reason why a run waits for another run's model; empty if it does not."""
    source = run_model(run.resolved_spec) if run.state is RunState.QUEUED else None
    stage = next_unfinished(run_stages)
    if source is None or stage is None or stage.state is not StageState.PENDING:
        return ""
    other = (await find_source(conn, run.project, source)).run
    return f"{other.name}, whose model it starts from, is {other.state}"


def _own_source(run: Run) -> str | None:
    model = run.resolved_spec.model
    return None if model is None else model.source


async def _require_final(run: Run) -> None:
    """Raise unless a checkpoint of a run has a starting model that is one folder."""
    own = RunModel.parse(_own_source(run) or "", FIELD)
    if own.step is not None:
        raise InvalidInput.field(
            FIELD,
            f"{run.name} starts from a checkpoint, too: name its final model, {run.name}",
        )


def _require_adapter(run: Run, named: RunModel) -> None:
    """Raise unless the run trains an adapter for a model whose files are stored here."""
    field = "spec.model.adapter"
    train, source = run.resolved_spec.train, _own_source(run)
    continued = run.resolved_spec.model and run.resolved_spec.model.adapter is AdapterUse.CONTINUE
    if named.step is not None:
        problem = f"cannot continue a checkpoint's adapter: name the final model, {run.name}"
    elif not continued and (train is None or train.adapter is None):
        problem = f"cannot continue: {run.name} trains no adapter"
    elif source is None or not source.startswith(("models/", "runs/")):
        problem = (
            f"cannot continue: the base model of {run.name} is not stored here; import it and "
            "train the adapter on models/NAME, or leave model.adapter out to start from the merged "
            "model"
        )
    elif RunModel.is_named(source) and RunModel.parse(source, field).step is not None:
        problem = f"cannot continue: {run.name} started from a checkpoint; leave model.adapter out"
    else:
        return
    raise InvalidInput.field(field, problem)


async def _train_stage(conn: AsyncConnection, run: Run) -> Stage | None:
    run_stages = await stages.list_for_run(conn, run.uid)
    return next((stage for stage in run_stages if stage.kind is StageKind.TRAIN), None)
