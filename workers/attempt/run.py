"""One attempt under a lease: fetch inputs, run the stage process, report what became of it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from tailrace.errors import TailraceError
from tailrace.formats import faults
from tailrace.formats.dispatch import TaskId
from tailrace.formats.faults import Moment
from tailrace.formats.spec.run_spec import StageExecution, StageKind
from tailrace.formats.stage_protocol import LogLevel, StageJob, encode_job
from tailrace.protomap import enum_word, spec_from_proto
from tailrace.v1 import run_pb2, stage_pb2
from workers.accelerators import Slot, stage_environment
from workers.attempt.checkpoints import CheckpointUploader
from workers.attempt.commits import Committer
from workers.attempt.content import Content, InterruptedTransferError
from workers.attempt.outcome import Abandoned, Outcome, Stopped, classify_ending, worker_fault
from workers.attempt.report import AttemptOutputs, Conclusion, OutcomeReporter
from workers.events.attempt_log import AttemptLog
from workers.events.pipe_reader import PipeReader
from workers.events.reporter import Reporter
from workers.events.spool import Spool, SpoolClosedError
from workers.instance import FOLDER
from workers.judges import endpoint_access
from workers.pool.directives import Directive, Directives
from workers.process.environment import credential_paths, inherited_environment
from workers.process.prewarmed import REFILL_SECONDS, Launch, Prewarmer
from workers.process.stage_process import StageProcess
from workers.process.supervisor import Supervisor
from workers.settings import Settings
from workers.stage_client import StageClient

_log = structlog.get_logger(__name__)

_BARE_KINDS = {StageKind.JUDGE}
"""Stage kinds that need no JAX: a new process starts faster than a prewarmed one may be ready."""


@dataclass(frozen=True)
class WorkerResources:
    """Resources with which a pool process executes attempts."""

    settings: Settings
    """The worker's settings."""
    slot: Slot
    """Slot of the pool process."""
    stage_client: StageClient
    """Client of StageService."""
    content: Content
    """Access to the artifact store."""
    prewarmer: Prewarmer
    """Keeper of the slot's prewarmed stage process."""
    memory_bytes: int | None = None
    """Memory limit of a stage; ``None`` for no limit."""

    def launch(self, threads: int) -> Launch:
        """Return the launch of a stage process with ``threads`` threads in this slot."""
        # The attempt's folder holds content from outside, which Python must not import.
        python = {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
        inherited = inherited_environment(self._home(), self.settings.stage_environment)
        return Launch(
            command=self.settings.stage_command,
            environment=inherited | stage_environment(self.slot, threads) | python,
            cores=self.slot.cores[:threads],
            cache_dir=self.settings.cache_dir.absolute() / "xla",
            hidden=self._hidden(),
        )

    def _hidden(self) -> tuple[Path, ...]:
        """Return the files that only the worker may read; the stack's file has the broker's URL."""
        token = self.settings.worker_token_file
        stack = token.parent / "stack.json"
        instances = self.settings.work_dir.absolute() / FOLDER
        keys = (
            self.settings.key_file,
            self.settings.broker_key_file,
            self.settings.worker_metrics_key_file,
            self.settings.worker_metrics_token_file,
        )
        own = (token, stack, instances, self.settings.judge_keys_file, *keys)
        return credential_paths(own, self.settings.stage_environment)

    def _home(self) -> Path:
        """Return the home folder of the slot's stage processes, which a starting worker empties."""
        workspace = self.settings.work_dir.absolute() / self.settings.worker_name
        home = workspace / f"home-{self.slot.id}"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return home


@dataclass(frozen=True)
class _Plan:
    job: Path
    kind: StageKind
    execution: StageExecution
    launch: Launch
    endpoint_access: bytes
    """Content for the standard input of a stage whose judges ask endpoints."""


class AttemptRunner:
    """Execution of one order in a separate folder; the thread must be a main one (StageProcess)."""

    def __init__(
        self,
        resources: WorkerResources,
        task: TaskId,
        order: stage_pb2.StageOrder,
        directives: Directives,
        folder: Path,
    ) -> None:
        self._resources = resources
        self._task = task
        self._order = order
        self._content = resources.content.under(order.lease_token)
        self._directives = directives
        self._folder = folder
        self._spool = Spool(folder / "spool.db", resources.settings.spool_max_bytes)
        self._attempt_log = AttemptLog(self._spool, resources.settings.log_lines_per_second)
        self._over = False

    def run(self, successor: str) -> Conclusion:
        """Execute the stage and report the outcome.

        Args:
            successor: Task id of the chain's next message; empty if there is none.

        Returns:
            The outcome, and its consequence for the chain.
        """
        output = self._folder / "output"
        output.mkdir()
        checkpoints = CheckpointUploader(
            output,
            self._folder / "checkpoints",
            self._spool,
            lambda folder: self._content.upload(folder, lambda: self._over or self._hopeless()),
            self._warn,
        )
        committer = Committer(
            output,
            self._folder / "commits",
            self._spool,
            lambda folder: self._content.upload(folder, lambda: self._over or self._hopeless()),
            self._fetch_reference,
            self._directives.abort,
        )
        reporter = Reporter(
            self._resources.stage_client, self._order.lease_token, self._spool, self._directives
        )
        try:
            outcome = self._execute(output, checkpoints, committer)
            outputs = AttemptOutputs(self._order.lease_token, output, self._spool, successor)
            outcome_reporter = OutcomeReporter(
                self._resources.stage_client,
                self._content,
                reporter,
                checkpoints,
                self._directives,
                self._hopeless,
            )
            return outcome_reporter.report(outputs, outcome)
        finally:
            self._over = True
            checkpoints.close()
            committer.close()
            reporter.close()
            self._spool.close()

    def _execute(
        self, output: Path, checkpoints: CheckpointUploader, committer: Committer
    ) -> Outcome:
        try:
            plan = self._prepare(output)
            if self._unwanted():
                raise InterruptedTransferError
        except InterruptedTransferError:
            return Abandoned() if self._hopeless() else Stopped()
        except (TailraceError, ValueError, OSError) as error:
            return worker_fault(f"the stage's inputs are unavailable: {error}")
        faults.before(Moment.SPAWN)
        try:
            process = self._start(plan)
        except OSError as error:
            return worker_fault(f"the stage process cannot be started: {error}")
        with process:
            faults.after(Moment.SPAWN)
            return self._supervise(process, plan, checkpoints, committer)

    def _start(self, plan: _Plan) -> StageProcess:
        # The standard input of a prewarmed process has the path of the job already.
        if plan.kind in _BARE_KINDS or plan.endpoint_access:
            return plan.launch.start(plan.job, plan.endpoint_access)
        return self._resources.prewarmer.start(plan.launch, plan.job)

    def _refill(self, plan: _Plan, seconds: float = math.inf) -> None:
        if plan.kind not in _BARE_KINDS and seconds >= REFILL_SECONDS:
            self._resources.prewarmer.refill(plan.launch)

    def _supervise(
        self,
        process: StageProcess,
        plan: _Plan,
        checkpoints: CheckpointUploader,
        committer: Committer,
    ) -> Outcome:
        reader = PipeReader(
            process,
            self._spool,
            self._attempt_log,
            checkpoints.offer,
            committer.offer,
            self._directives.abort,
        )
        timeout = plan.execution.timeout
        ending = Supervisor(
            process,
            self._directives,
            timeout=timeout,
            grace=self._resources.settings.grace_seconds,
            memory_bytes=self._resources.memory_bytes,
            meanwhile=partial(self._refill, plan),
        ).run()
        self._refill(plan)
        _log.info("stage process ended", status=ending.status, seconds=round(ending.seconds, 3))
        if not reader.join(self._hopeless):
            return Abandoned()
        with contextlib.suppress(SpoolClosedError, OSError):
            self._attempt_log.close()
        return classify_ending(
            ending,
            reader.report,
            self._attempt_log.tail,
            fault=self._directives.fault,
            timeout=timeout,
        )

    def _prepare(self, output: Path) -> _Plan:
        """Fetch the inputs and write the job file; errors are those of :meth:`Content.inputs`."""
        order = self._order
        artifacts = [*order.inputs, *([order.checkpoint] if order.HasField("checkpoint") else [])]
        began = time.monotonic()
        inputs = self._content.inputs(
            artifacts, self._folder / "inputs", self._unwanted, order.named_inputs
        )
        spec = spec_from_proto(order.spec)
        kind = StageKind(enum_word(run_pb2.StageKind.DESCRIPTOR, order.kind))
        if kind is StageKind.INFER and self._task.attempt > 1:
            path = self._folder / "inputs" / "stored_predictions.jsonl"
            stored = self._content.stored_predictions(self._task.run_uid, path, self._unwanted)
            inputs = dataclasses.replace(inputs, stored_predictions=stored)
        execution: StageExecution = getattr(spec.execution, kind.value)
        launch = self._resources.launch(self._threads(execution))
        job = StageJob(
            run=order.run,
            stage=self._task.stage,
            attempt=self._task.attempt,
            kind=kind,
            spec=spec,
            inputs=inputs,
            output_dir=str(output),
            threads=len(launch.cores),
            cache_dir=str(launch.cache_dir),
        )
        path = self._folder / "job.json"
        path.write_text(encode_job(job), encoding="utf-8")
        _log.info("inputs are in place", seconds=round(time.monotonic() - began, 3))
        access = b""
        judges = spec.stage_judges(kind)
        if any(judge.endpoint() is not None for judge in judges):
            access = endpoint_access(judges, self._resources.settings, self._order.project).encode()
        return _Plan(path, kind, execution, launch, access)

    def _fetch_reference(self, key: str, folder: Path) -> None:
        """Write the log-probabilities with a key to a folder, if the control plane has them."""
        request = stage_pb2.FindReferenceRequest(lease_token=self._order.lease_token, key=key)
        try:
            answer = self._resources.stage_client.find_reference(request, stop=self._unwanted)
            if answer.HasField("artifact"):
                self._content.fetch(answer.artifact, folder, self._unwanted)
        except (TailraceError, ValueError, OSError) as error:
            self._warn(f"log-probabilities of other runs are unavailable: {error}")

    def _threads(self, execution: StageExecution) -> int:
        width = len(self._resources.slot.cores)
        if execution.threads > width:
            self._warn(
                f"{execution.threads} threads are requested, but slot "
                f"{self._resources.slot.id} has {width} cores: {width} threads are used"
            )
        return min(execution.threads or width, width)

    def _warn(self, text: str) -> None:
        _log.warning("attempt", warning=text)
        # Without a spool the warning is in the worker's own log only.
        with contextlib.suppress(SpoolClosedError, OSError):
            self._attempt_log.write(text, LogLevel.WARNING)

    def _unwanted(self) -> bool:
        """Return True if the attempt need not begin any more."""
        return self._directives.strongest > Directive.CONTINUE

    def _hopeless(self) -> bool:
        """Return True if nothing can be reported any more, or the time for reports is over."""
        draining = self._directives.draining_seconds()
        if draining is None:
            return self._directives.lease_lost
        # A draining worker gives its uploads time, but does not wait for an absent control plane.
        settings = self._resources.settings
        away = self._resources.stage_client.away_seconds()
        late = draining > settings.drain_seconds or away > settings.grace_seconds
        return late or self._directives.lease_lost
