"""A small control plane in memory, served over real gRPC: one lease at a time per stage."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from tailrace.formats.listing import FileEntry, listing_digest
from tailrace.v1 import (
    artifact_pb2,
    artifact_pb2_grpc,
    evaluation_pb2,
    run_pb2,
    stage_pb2,
    stage_pb2_grpc,
)


def refuse(context: Any, code: int, reason: str, message: str) -> None:
    """End a call with google.rpc.Status and ErrorInfo."""
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="tailrace"))
    status = status_pb2.Status(code=code, message=message, details=[detail])
    context.abort_with_status(rpc_status.to_status(status))


def _pass(_request: Any, _context: Any) -> None:
    """Do nothing before a call."""


@dataclass
class RecordedAttempt:
    """Record of an attempt, as the control plane has it."""

    token: str
    events: list[stage_pb2.StageEvent] = field(default_factory=list)
    directive: stage_pb2.Directive.ValueType = stage_pb2.DIRECTIVE_CONTINUE
    lost: bool = False
    beats: int = 0
    completed: stage_pb2.CompleteStageRequest | None = None
    failed: stage_pb2.FailStageRequest | None = None
    released: stage_pb2.ReleaseStageRequest | None = None

    @property
    def over(self) -> bool:
        """True once the attempt's end was reported."""
        return bool(self.completed or self.failed or self.released)

    def logs(self) -> list[str]:
        """Return the texts of its log lines."""
        return [e.log.text for e in self.events if e.HasField("log")]


class FakeControlPlane(
    stage_pb2_grpc.StageServiceServicer, artifact_pb2_grpc.ArtifactServiceServicer
):
    """StageService, ArtifactService and ListPredictions over dictionaries."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.orders: dict[str, stage_pb2.StageOrder] = {}
        self.answers: dict[str, stage_pb2.AcquireStageResponse] = {}
        self.attempts: dict[str, RecordedAttempt] = {}
        self.blobs: dict[str, bytes] = {}
        self.predictions: list[evaluation_pb2.Prediction] = []
        self.uploads: dict[str, bytes] = {}
        self.registered: list[stage_pb2.RegisterWorkerRequest] = []
        self.heartbeats: list[stage_pb2.WorkerHeartbeatRequest] = []
        self.confirmed: list[str] = []
        self.acquired: list[stage_pb2.AcquireStageRequest] = []
        self.refuse_registration = ""
        self.worker_directive = stage_pb2.DIRECTIVE_CONTINUE
        self.forget_workers = False
        self.refuse_token = False
        self.secret = ""
        self.goodbyes: list[stage_pb2.WorkerHeartbeatRequest] = []
        self.decision = stage_pb2.CHAIN_DECISION_STOP
        self.before: dict[str, Callable[[Any, Any], object]] = {}
        self.publish_hook: Callable[[stage_pb2.PublishEventsRequest, Any], None] = lambda *_: None
        self.batches: list[tuple[int, int]] = []
        self.ended_streams = 0
        self.port = 0
        self._server: grpc.Server | None = None

    def start(self) -> str:
        """Listen, on the same port as before if there was one; return the address."""
        self._server = grpc.server(
            futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)]
        )
        stage_pb2_grpc.add_StageServiceServicer_to_server(self, self._server)
        artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(self, self._server)
        # Of RunService only what a worker calls.
        listing = grpc.unary_unary_rpc_method_handler(
            self.list_predictions,
            request_deserializer=run_pb2.ListPredictionsRequest.FromString,
            response_serializer=run_pb2.ListPredictionsResponse.SerializeToString,
        )
        handler = grpc.method_handlers_generic_handler(
            "tailrace.v1.RunService", {"ListPredictions": listing}
        )
        self._server.add_generic_rpc_handlers((handler,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()
        return self.address

    @property
    def address(self) -> str:
        """Address of the server."""
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Cut every call and stop listening."""
        if self._server is not None:
            self._server.stop(None).wait()

    def add(self, content: bytes) -> str:
        """Store a blob and return its sha256."""
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest

    def artifact(
        self, kind: artifact_pb2.ArtifactKind.ValueType, **files: bytes
    ) -> artifact_pb2.Artifact:
        """Store files (`__` stands for a dot) and return their artifact."""
        entries = [
            artifact_pb2.ArtifactFile(
                path=name.replace("__", "."), sha256=self.add(body), size_bytes=len(body)
            )
            for name, body in sorted(files.items())
        ]
        digest = listing_digest([FileEntry(e.path, e.sha256, e.size_bytes) for e in entries])
        return artifact_pb2.Artifact(name=f"artifacts/{digest}", kind=kind, files=entries)

    def lease(self, token: str) -> RecordedAttempt:
        """Return the attempt with this lease; create it if it is missing."""
        return self.attempts.setdefault(token, RecordedAttempt(token))

    # RunService

    def list_predictions(self, request: Any, context: Any) -> Any:
        """Return pages of two predictions, so that there are several."""
        start = int(request.page_token or 0)
        token = str(start + 2) if start + 2 < len(self.predictions) else ""
        return run_pb2.ListPredictionsResponse(
            predictions=self.predictions[start : start + 2], next_page_token=token
        )

    # StageService

    def RegisterWorker(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self.lock:
            self.registered.append(request)
        if self.refuse_registration:
            refuse(
                context,
                code_pb2.FAILED_PRECONDITION,
                "PROTOCOL_UNSUPPORTED",
                self.refuse_registration,
            )
        self.secret = f"secret {len(self.registered)}"
        return stage_pb2.RegisterWorkerResponse(
            name=f"workers/{request.worker_id}",
            worker_secret=self.secret,
            worker_directive=self.worker_directive,
            heartbeat_interval=duration_pb2.Duration(nanos=200_000_000),
            lease_duration=duration_pb2.Duration(seconds=2),
        )

    def WorkerHeartbeat(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.refuse_token:
            refuse(context, code_pb2.UNAUTHENTICATED, "WORKER_TOKEN", "another token")
        if self.forget_workers:
            self.forget_workers = False
            refuse(context, code_pb2.NOT_FOUND, "WORKER_UNKNOWN", "register again")
        if request.worker_secret != self.secret:
            refuse(context, code_pb2.PERMISSION_DENIED, "WORKER_SECRET", "register again")
        with self.lock:
            if request.ended:
                self.goodbyes.append(request)
                return stage_pb2.WorkerHeartbeatResponse()
            self.heartbeats.append(request)
            directives = []
            for token in request.lease_tokens:
                attempt = self.attempts.get(token)
                if attempt is None or attempt.lost:
                    directives.append(stage_pb2.DIRECTIVE_LEASE_LOST)
                else:
                    attempt.beats += 1
                    directives.append(attempt.directive)
        return stage_pb2.WorkerHeartbeatResponse(
            lease_directives=directives, worker_directive=self.worker_directive
        )

    def AcquireStage(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.before.get("AcquireStage", _pass)(request, context)
        if request.worker_secret != self.secret:
            refuse(context, code_pb2.PERMISSION_DENIED, "WORKER_SECRET", "register again")
        key = f"{request.run_uid}.{request.stage}.{request.attempt}"
        with self.lock:
            self.acquired.append(request)
            if key in self.answers:
                return self.answers[key]
            order = self.orders.pop(key, None)
            if order is None:
                stop = stage_pb2.ChainStop(reason="UNKNOWN")
                return stage_pb2.AcquireStageResponse(stop=stop)
            self.lease(order.lease_token)
            return stage_pb2.AcquireStageResponse(run=order)

    def PublishEvents(self, request_iterator: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        for request in request_iterator:
            self.publish_hook(request, context)
            attempt = self._live(request.lease_token, context)
            with self.lock:
                self.batches.append((request.first_sequence, len(request.events)))
                have = len(attempt.events)
                if request.first_sequence <= have + 1:
                    attempt.events.extend(list(request.events)[have + 1 - request.first_sequence :])
                answer = stage_pb2.PublishEventsResponse(
                    acknowledged_sequence=len(attempt.events), directive=attempt.directive
                )
            yield answer
        self.ended_streams += 1

    def ConfirmDispatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self.lock:
            self.confirmed.append(request.task_id)
        return stage_pb2.ConfirmDispatchResponse()

    def CompleteStage(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.before.get("CompleteStage", _pass)(request, context)
        attempt = self._live(request.lease_token, context)
        missing = [
            f.sha256 for a in request.artifacts for f in a.files if f.sha256 not in self.blobs
        ]
        if missing:
            refuse(context, code_pb2.FAILED_PRECONDITION, "BLOB_MISSING", str(missing))
        if request.last_event_sequence != len(attempt.events):
            refuse(context, code_pb2.FAILED_PRECONDITION, "EVENTS_MISSING", "events are missing")
        attempt.completed = request
        return stage_pb2.CompleteStageResponse(decision=self.decision)

    def FailStage(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.before.get("FailStage", _pass)(request, context)
        self._live(request.lease_token, context).failed = request
        return stage_pb2.FailStageResponse()

    def ReleaseStage(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.before.get("ReleaseStage", _pass)(request, context)
        self._live(request.lease_token, context).released = request
        return stage_pb2.ReleaseStageResponse()

    def _live(self, token: str, context: Any) -> RecordedAttempt:
        attempt = self.attempts.get(token)
        if attempt is None or attempt.lost:
            refuse(context, code_pb2.FAILED_PRECONDITION, "LEASE_LOST", "the lease is lost")
        assert attempt is not None
        return attempt

    # ArtifactService

    def QueryWriteStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.before.get("QueryWriteStatus", _pass)(request, context)
        sha256 = request.resource_name.split("/")[3]
        done = sha256 in self.blobs
        committed = len(self.blobs.get(sha256, b"")) if done else 0
        return artifact_pb2.QueryWriteStatusResponse(committed_size=committed, complete=done)

    def Write(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        content = b""
        name = ""
        for request in request_iterator:
            name = name or request.resource_name
            content += request.data
        assert hashlib.sha256(content).hexdigest() == name.split("/")[3]
        self.add(content)
        return artifact_pb2.WriteResponse(committed_size=len(content))

    def GetArtifact(self, request: Any, context: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "workers do not ask for it")

    def ListArtifacts(self, request: Any, context: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "workers do not ask for it")

    def Read(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self.before.get("Read", _pass)(request, context)
        blob = self.blobs.get(request.resource_name.removeprefix("blobs/"))
        if blob is None:
            refuse(context, code_pb2.NOT_FOUND, "NOT_FOUND", f"no {request.resource_name}")
        assert blob is not None
        for start in range(request.read_offset, len(blob), 1000):
            yield artifact_pb2.ReadResponse(data=blob[start : start + 1000])
