"""Report of an attempt's outcome: its outputs, its events and finally the report itself."""

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
from workers.attempt.outcome import Failed, Outcome, Stopped, Succeeded, refused, worker_fault
from workers.events.messages import stage_result
from workers.events.reporter import Reporter
from workers.events.spool import Spool
from workers.pool.directives import Directive, Directives
from workers.stage_client import LeaseLostError, StageClient

_log = structlog.get_logger(__name__)

_FAILED_CHECKPOINT_SECONDS = 8.0
"""Time that the report of a failure waits for the upload of a checkpoint: the next attempt could
continue from it, but users wait for the news of the failure."""


@dataclass(frozen=True)
class Conclusion:
    """Reported outcome of an attempt, and its consequence for the chain."""

    outcome: str
    """``succeeded``, ``released``, ``failed`` or ``abandoned``."""
    chain_goes_on: bool = False
    """True if Celery must send the successor."""
    detail: str = ""
    """Reason of a failure or a release."""


class ReportRefusedError(Exception):
    """The report was refused, for the reason in the message. The lease will expire."""


@dataclass(frozen=True)
class AttemptOutputs:
    """Subject of a report: a lease with its outputs and events."""

    lease_token: str
    """Lease token of the attempt."""
    output: Path
    """Output folder of the attempt."""
    spool: Spool
    """Spool of the attempt's events."""
    successor: str
    """Task id of the chain's next message; empty if there is none."""


class OutcomeReporter:
    """Reporter of an attempt's outcome, which repeats the report until there is an answer."""

    def __init__(
        self,
        stage_client: StageClient,
        content: Content,
        reporter: Reporter,
        checkpoints: CheckpointUploader,
        directives: Directives,
        hopeless: Callable[[], bool],
    ) -> None:
        """Prepare reports.

        Args:
            stage_client: Client for the report.
            content: Store for the outputs.
            reporter: Sender of the events.
            checkpoints: Uploader of waiting checkpoints.
            directives: Directives for the attempt.
            hopeless: Predicate that is true once nothing can be reported any more.
        """
        self._stage_client = stage_client
        self._content = content
        self._reporter = reporter
        self._checkpoints = checkpoints
        self._directives = directives
        self._hopeless = hopeless

    def report(self, outputs: AttemptOutputs, outcome: Outcome) -> Conclusion:
        """Report an outcome, however long the control plane is absent.

        Raises:
            ReportRefusedError: The control plane refuses the report although the lease is held, or
                the worker's time to shut down is over.
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
        """Upload the outputs and call CompleteStage; return another outcome if that fails."""
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
            return refused(error)
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
        message = from_mapping(artifact_pb2.Artifact, {"kind": artifact.kind.value})
        message.files.extend(files)
        return message
