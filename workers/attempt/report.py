"""Delivers what became of an attempt: outputs, events and at last the report itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from tailrace.errors import TailraceError
from tailrace.formats import faults
from tailrace.formats.faults import Moment
from tailrace.formats.listing import path_problem
from tailrace.formats.stage_protocol import OutputArtifact
from tailrace.protomap import from_mapping
from tailrace.v1 import artifact_pb2, run_pb2, stage_pb2
from workers.attempt.checkpoints import CheckpointUploader
from workers.attempt.content import Content, InterruptedTransferError
from workers.attempt.outcome import Failed, Outcome, Stopped, Succeeded, worker_fault
from workers.events.messages import stage_result
from workers.events.reporter import Reporter
from workers.events.spool import Spool
from workers.pool.directives import Directive, Directives
from workers.stage_client import LeaseLostError, StageClient

_log = structlog.get_logger(__name__)

_FAILED_CHECKPOINT_SECONDS = 8.0
"""How long the report of a failure waits for a checkpoint that is still being uploaded: the next
attempt could continue from it, but people wait to hear of the failure."""


@dataclass(frozen=True)
class Conclusion:
    """What became of an attempt, and what follows for the chain."""

    outcome: str
    """``succeeded``, ``released``, ``failed`` or ``abandoned``."""
    chain_goes_on: bool = False
    """Whether Celery shall send the successor."""
    detail: str = ""
    """The reason of a failure or release."""


class ReportRefusedError(Exception):
    """The report was refused; the text says why. The lease will expire."""


@dataclass(frozen=True)
class AttemptOutputs:
    """What a report is about."""

    lease_token: str
    """The attempt's lease."""
    output: Path
    """The attempt's output folder."""
    spool: Spool
    """Its events."""
    successor: str
    """Task id of the chain's next message; empty if there is none."""


class OutcomeReporter:
    """Reports an outcome until there is an answer."""

    def __init__(
        self,
        stage_client: StageClient,
        content: Content,
        reporter: Reporter,
        checkpoints: CheckpointUploader,
        directives: Directives,
        hopeless: Callable[[], bool],
    ) -> None:
        """Report with these resources.

        Args:
            stage_client: Takes the report.
            content: Takes the outputs.
            reporter: Sends the events.
            checkpoints: Uploads checkpoints that are still waiting.
            directives: What shall happen to the attempt.
            hopeless: Whether nothing can be reported any more.
        """
        self._stage_client = stage_client
        self._content = content
        self._reporter = reporter
        self._checkpoints = checkpoints
        self._directives = directives
        self._hopeless = hopeless

    def report(self, outputs: AttemptOutputs, outcome: Outcome) -> Conclusion:
        """Report an outcome, however long the control plane is away.

        Raises:
            ReportRefusedError: The control plane refuses every report, not for a lost lease, or the
                worker's time to shut down is over.
        """
        try:
            final: Outcome | Conclusion = outcome
            if isinstance(outcome, Succeeded):
                final = self._complete(outputs, outcome)
            if isinstance(final, Conclusion):
                return final
            if isinstance(final, Stopped) and not self._directives.lease_lost:
                return self._release(outputs)
            if isinstance(final, Failed):
                return self._fail(outputs, final.error)
        except LeaseLostError:
            self._directives.lose()
        except TailraceError as error:
            if not self._directives.lease_lost:
                raise ReportRefusedError(str(error)) from error
        return Conclusion("abandoned")

    def _complete(
        self, outputs: AttemptOutputs, outcome: Succeeded
    ) -> Conclusion | Stopped | Failed:
        """CompleteStage; another outcome when the outputs cannot be handed over."""
        try:
            artifacts = [
                self._upload(outputs.output, artifact) for artifact in outcome.result.artifacts
            ]
        except InterruptedTransferError:
            return Stopped()
        except (TailraceError, OSError, ValueError) as error:
            return worker_fault(f"the stage's outputs cannot be stored: {error}")
        if not self._checkpoints.drain(self._hopeless) or not self._reporter.flush(self._hopeless):
            return self._unsent()
        request = stage_pb2.CompleteStageRequest(
            lease_token=outputs.lease_token,
            result=stage_result(outcome.result),
            artifacts=artifacts,
            last_event_sequence=outputs.spool.acknowledged,
            successor_task_id=outputs.successor,
        )
        faults.before(Moment.COMPLETE)
        try:
            answer = self._stage_client.complete(request, stop=self._hopeless)
        except TailraceError as error:
            if self._hopeless():
                raise
            return worker_fault(f"the control plane refused the result: {error}")
        faults.after(Moment.COMPLETE)
        goes_on = answer.decision == stage_pb2.CHAIN_DECISION_CONTINUE
        return Conclusion("succeeded", chain_goes_on=goes_on)

    def _unsent(self) -> Stopped | Failed:
        if self._directives.strongest is Directive.ABORT:
            return worker_fault(self._directives.fault)
        return Stopped()

    def _release(self, outputs: AttemptOutputs) -> Conclusion:
        self._checkpoints.drain(self._hopeless)
        self._reporter.flush(self._hopeless)
        if self._directives.strongest is Directive.CANCEL:
            reason = "CANCELLED"
        else:
            draining = self._directives.draining_seconds() is not None
            reason = "DRAINED" if draining else "PREEMPTED"
        request = stage_pb2.ReleaseStageRequest(
            lease_token=outputs.lease_token,
            reason=reason,
            last_event_sequence=outputs.spool.acknowledged,
        )
        self._stage_client.release(request, stop=self._hopeless)
        return Conclusion("released", detail=reason)

    def _fail(self, outputs: AttemptOutputs, error: run_pb2.StageError) -> Conclusion:
        deadline = time.monotonic() + _FAILED_CHECKPOINT_SECONDS
        self._checkpoints.drain(lambda: time.monotonic() > deadline or self._hopeless())
        self._reporter.flush(self._hopeless)
        request = stage_pb2.FailStageRequest(
            lease_token=outputs.lease_token,
            error=error,
            last_event_sequence=outputs.spool.acknowledged,
        )
        answer = self._stage_client.fail(request, stop=self._hopeless)
        _log.warning(
            "stage failed",
            reason=error.reason,
            error=error.message,
            will_retry=answer.will_retry,
        )
        return Conclusion("failed", detail=error.reason)

    def _upload(self, output: Path, artifact: OutputArtifact) -> artifact_pb2.Artifact:
        problem = path_problem(artifact.path)
        if problem is not None:
            raise ValueError(f"output folder {artifact.path!r} {problem}")
        files = self._content.upload(
            output / artifact.path,
            lambda: self._directives.strongest >= Directive.CANCEL or self._hopeless(),
        )
        made = from_mapping(artifact_pb2.Artifact, {"kind": artifact.kind.value})
        made.files.extend(files)
        return made
