"""A small real gRPC server that behaves like the control plane where the SDK can tell."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import any_pb2, timestamp_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tailrace.client.call import resource
from tailrace.formats.canonical import extend_chain
from tailrace.formats.listing import FileEntry, listing_digest
from tailrace.v1 import (
    artifact_pb2,
    artifact_pb2_grpc,
    baseline_pb2,
    baseline_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    evalset_pb2,
    evalset_pb2_grpc,
    evaluation_pb2,
    model_pb2,
    model_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)


class Faults:
    """Faults to come: codes per method, and the places where streams break."""

    def __init__(self) -> None:
        self.codes: dict[str, list[grpc.StatusCode]] = {}
        self.break_after: dict[str, list[int]] = {}
        self.calls: list[tuple[str, Any]] = []
        self.deadlines: list[float | None] = []

    def enter(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        """Record a call and fail it if its turn has come."""
        copy = type(request)()
        copy.CopyFrom(request)
        self.calls.append((method, copy))
        self.deadlines.append(context.time_remaining())
        if self.codes.get(method):
            context.abort(self.codes[method].pop(0), f"{method} fails by order of the test")

    def stream(
        self, method: str, context: grpc.ServicerContext, messages: Iterator[Any]
    ) -> Iterator[Any]:
        """Send messages until the stream's turn to break comes."""
        allowed = self.break_after.get(method)
        left = allowed.pop(0) if allowed else None
        for message in messages:
            if left == 0:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the server drains")
            left = None if left is None else left - 1
            yield message


def abort_rich(context: grpc.ServicerContext, code: int, message: str, *details: Any) -> None:
    """Fail a call with a google.rpc.Status."""
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    context.abort_with_status(rpc_status.to_status(status))


class Runs(run_pb2_grpc.RunServiceServicer):
    """RunService in memory: ``runs`` by name, ``log`` lines of one attempt."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.runs: dict[str, run_pb2.Run] = {}
        self.by_request: dict[str, str] = {}
        self.log = [f"line {n}" for n in range(1, 21)]
        self.recorded: list[str] | None = None
        self.comparison = run_pb2.CompareRunsResponse()
        self.points = [
            run_pb2.MetricPoint(name="loss", step=step, value=5.0 / step) for step in range(1, 6)
        ]
        self.predictions = [
            evaluation_pb2.Prediction(
                eval_set="dataset:train", example_id="a", prompt="What is 1 + 1?", text="Answer: 2"
            )
        ]
        self.verdicts = [
            evaluation_pb2.Verdict(
                eval_set="dataset:train",
                example_id="a",
                judge="answer_correctness",
                outcome=evaluation_pb2.OUTCOME_PASS,
                score=1.0,
                expected="2",
                extracted="2",
            )
        ]
        self.states = [
            run_pb2.RUN_STATE_QUEUED,
            run_pb2.RUN_STATE_RUNNING,
            run_pb2.RUN_STATE_SUCCEEDED,
        ]
        self.end_state: Any = run_pb2.RUN_STATE_SUCCEEDED
        self.lock = threading.Lock()

    def CreateRun(self, request: run_pb2.CreateRunRequest, context: Any) -> run_pb2.Run:  # noqa: N802
        with self.lock:
            if request.request_id not in self.by_request:
                name = resource("runs", request.run_id or f"run-{len(self.runs) + 1}")
                run = run_pb2.Run(name=name, uid="u1", spec=request.spec, revision=1)
                run.state = run_pb2.RUN_STATE_QUEUED
                self.runs[name] = run
                self.by_request[request.request_id] = name
                if request.validate_only:
                    run.stages.add(id="infer", waiting_reason="no live worker serves pool 'gpu'")
        # The effect is there before the answer is lost.
        self.faults.enter("CreateRun", request, context)
        return self.runs[self.by_request[request.request_id]]

    def GetRun(self, request: run_pb2.GetRunRequest, context: Any) -> run_pb2.Run:  # noqa: N802
        self.faults.enter("GetRun", request, context)
        if request.name not in self.runs:
            error_info = error_details_pb2.ErrorInfo(
                reason="RUN_NOT_FOUND", domain="tailrace", metadata={"name": request.name}
            )
            abort_rich(context, 5, f"there is no {request.name}", error_info)
        return self.runs[request.name]

    def ListRuns(  # noqa: N802
        self, request: run_pb2.ListRunsRequest, context: Any
    ) -> run_pb2.ListRunsResponse:
        self.faults.enter("ListRuns", request, context)
        start = int(request.page_token or 0)
        stop = start + (request.page_size or 2)
        runs = [*self.runs.values()][start:stop]
        token = str(stop) if stop < len(self.runs) else ""
        return run_pb2.ListRunsResponse(runs=runs, next_page_token=token)

    def CancelRun(self, request: run_pb2.CancelRunRequest, context: Any) -> run_pb2.Run:  # noqa: N802
        self.faults.enter("CancelRun", request, context)
        error_info = error_details_pb2.ErrorInfo(reason="RUN_TERMINAL", domain="tailrace")
        abort_rich(context, 9, f"{request.name} has SUCCEEDED", error_info)
        raise AssertionError

    def WatchRun(  # noqa: N802
        self, request: run_pb2.WatchRunRequest, context: Any
    ) -> Iterator[run_pb2.WatchRunResponse]:
        self.faults.enter("WatchRun", request, context)

        def snapshots() -> Iterator[run_pb2.WatchRunResponse]:
            for revision, state in enumerate(self.states, start=1):
                if revision > request.after_revision:
                    run = run_pb2.Run(name=request.name, state=state, revision=revision)
                    yield run_pb2.WatchRunResponse(run=run)

        yield from self.faults.stream("WatchRun", context, snapshots())
        if request.name in self.runs:
            self.runs[request.name].state = self.end_state

    def StreamLogs(  # noqa: N802
        self, request: run_pb2.StreamLogsRequest, context: Any
    ) -> Iterator[run_pb2.StreamLogsResponse]:
        self.faults.enter("StreamLogs", request, context)
        start = int(request.cursor or 0)

        def batches() -> Iterator[run_pb2.StreamLogsResponse]:
            for at in range(start, len(self.log), 3):
                lines = [
                    run_pb2.LogLine(sequence=at + n + 1, level=run_pb2.LOG_LEVEL_INFO, text=text)
                    for n, text in enumerate(self.log[at : at + 3])
                ]
                cursor = str(at + len(lines))
                yield run_pb2.StreamLogsResponse(
                    stage="train", attempt=1, lines=lines, cursor=cursor
                )
            cursor = str(len(self.log))
            recorded = self.recorded or self.log
            end = run_pb2.LogEnd(line_count=len(recorded))
            end.digest = extend_chain(b"", (text.encode() for text in recorded)).hex()
            yield run_pb2.StreamLogsResponse(stage="train", attempt=1, cursor=cursor, end=end)

        yield from self.faults.stream("StreamLogs", context, batches())

    def StreamMetrics(  # noqa: N802
        self, request: run_pb2.StreamMetricsRequest, context: Any
    ) -> Iterator[run_pb2.StreamMetricsResponse]:
        self.faults.enter("StreamMetrics", request, context)
        start = int(request.cursor or 0)
        for position, point in enumerate(self.points[start:], start=start + 1):
            yield run_pb2.StreamMetricsResponse(
                stage="train", attempt=1, points=[point], cursor=str(position)
            )

    def ListPredictions(  # noqa: N802
        self, request: run_pb2.ListPredictionsRequest, context: Any
    ) -> run_pb2.ListPredictionsResponse:
        self.faults.enter("ListPredictions", request, context)
        return run_pb2.ListPredictionsResponse(predictions=self.predictions)

    def ListVerdicts(  # noqa: N802
        self, request: run_pb2.ListVerdictsRequest, context: Any
    ) -> run_pb2.ListVerdictsResponse:
        self.faults.enter("ListVerdicts", request, context)
        return run_pb2.ListVerdictsResponse(verdicts=self.verdicts)

    def RetryRun(self, request: run_pb2.RetryRunRequest, context: Any) -> run_pb2.Run:  # noqa: N802
        self.faults.enter("RetryRun", request, context)
        return self.runs[request.name]

    def CompareRuns(  # noqa: N802
        self, request: run_pb2.CompareRunsRequest, context: Any
    ) -> run_pb2.CompareRunsResponse:
        self.faults.enter("CompareRuns", request, context)
        self.comparison.ClearField("runs")
        self.comparison.runs.extend(
            self.runs.get(name, run_pb2.Run(name=name)) for name in request.names
        )
        return self.comparison


class Baselines(baseline_pb2_grpc.BaselineServiceServicer):
    """BaselineService in memory."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.baselines: dict[str, baseline_pb2.Baseline] = {}

    def SetBaseline(self, request: Any, context: Any) -> baseline_pb2.Baseline:  # noqa: N802
        self.faults.enter("SetBaseline", request, context)
        baseline = baseline_pb2.Baseline(
            name=request.name, run=request.run, description=request.description
        )
        self.baselines[request.name] = baseline
        return baseline

    def GetBaseline(self, request: Any, context: Any) -> baseline_pb2.Baseline:  # noqa: N802
        self.faults.enter("GetBaseline", request, context)
        if request.name not in self.baselines:
            error_info = error_details_pb2.ErrorInfo(reason="BASELINE_NOT_FOUND", domain="tailrace")
            abort_rich(context, 5, f"{request.name} does not exist", error_info)
        return self.baselines[request.name]

    def ListBaselines(  # noqa: N802
        self, request: Any, context: Any
    ) -> baseline_pb2.ListBaselinesResponse:
        self.faults.enter("ListBaselines", request, context)
        return baseline_pb2.ListBaselinesResponse(baselines=self.baselines.values())

    def DeleteBaseline(  # noqa: N802
        self, request: Any, context: Any
    ) -> baseline_pb2.DeleteBaselineResponse:
        self.faults.enter("DeleteBaseline", request, context)
        del self.baselines[request.name]
        return baseline_pb2.DeleteBaselineResponse()


class Datasets(dataset_pb2_grpc.DatasetServiceServicer):
    """DatasetService in memory: content by id."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.content: dict[str, bytes] = {}
        self.headers: list[dataset_pb2.ImportDatasetHeader] = []

    def ImportDataset(self, requests: Any, context: Any) -> dataset_pb2.Dataset:  # noqa: N802
        header = next(requests)
        self.faults.enter("ImportDataset", header, context)
        content = b"".join(request.data for request in requests)
        if b"bad" in content:
            violations = [
                error_details_pb2.BadRequest.FieldViolation(field=f"line {n}", description="bad")
                for n, line in enumerate(content.splitlines(), start=1)
                if b"bad" in line
            ]
            bad = error_details_pb2.BadRequest(field_violations=violations)
            abort_rich(context, 3, "the dataset has lines that are not traces", bad)
        self.content[header.header.dataset_id] = content
        self.headers.append(header.header)
        return self._dataset(header.header.dataset_id)

    def SeedDataset(self, request: Any, context: Any) -> dataset_pb2.Dataset:  # noqa: N802
        self.faults.enter("SeedDataset", request, context)
        self.content[request.dataset_id] = b"{}"
        return self._dataset(request.dataset_id)

    def ListDatasets(  # noqa: N802
        self, request: Any, context: Any
    ) -> dataset_pb2.ListDatasetsResponse:
        self.faults.enter("ListDatasets", request, context)
        return dataset_pb2.ListDatasetsResponse(datasets=map(self._dataset, self.content))

    def GetDataset(self, request: Any, context: Any) -> dataset_pb2.Dataset:  # noqa: N802
        self.faults.enter("GetDataset", request, context)
        return self._dataset(request.name.removeprefix("datasets/").partition("@")[0])

    def ExportDataset(  # noqa: N802
        self, request: Any, context: Any
    ) -> Iterator[dataset_pb2.ExportDatasetResponse]:
        self.faults.enter("ExportDataset", request, context)
        content = self.content[request.name.removeprefix("datasets/").partition("@")[0]]
        chunks = (content[at : at + 4] for at in range(0, len(content), 4))
        messages = (dataset_pb2.ExportDatasetResponse(data=chunk) for chunk in chunks)
        yield from self.faults.stream("ExportDataset", context, messages)

    def _dataset(self, dataset_id: str) -> dataset_pb2.Dataset:
        size = len(self.content.get(dataset_id, b""))
        return dataset_pb2.Dataset(
            name=f"datasets/{dataset_id}@1", dataset_id=dataset_id, version=1, size_bytes=size
        )


class EvalSets(evalset_pb2_grpc.EvalSetServiceServicer):
    """EvalSetService in memory: content by id."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.artifact = ""

    def ImportEvalSet(self, requests: Any, context: Any) -> evalset_pb2.EvalSet:  # noqa: N802
        name = next(requests).header.eval_set_id
        self.content[name] = b"".join(request.data for request in requests)
        return self._eval_set(name)

    def ListEvalSets(  # noqa: N802
        self, request: Any, context: Any
    ) -> evalset_pb2.ListEvalSetsResponse:
        return evalset_pb2.ListEvalSetsResponse(eval_sets=map(self._eval_set, self.content))

    def GetEvalSet(self, request: Any, context: Any) -> evalset_pb2.EvalSet:  # noqa: N802
        return self._eval_set(request.name.removeprefix("evalsets/").partition("@")[0])

    def _eval_set(self, name: str) -> evalset_pb2.EvalSet:
        size = len(self.content[name])
        return evalset_pb2.EvalSet(
            name=f"evalsets/{name}@1",
            eval_set_id=name,
            version=1,
            size_bytes=size,
            artifact=self.artifact,
        )


class Artifacts(artifact_pb2_grpc.ArtifactServiceServicer):
    """ArtifactService for reading: blobs by digest, artifacts of runs."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.artifacts: list[artifact_pb2.Artifact] = []

    def add(self, kind: Any, files: dict[str, bytes], *, run: str = "", attempt: int = 1) -> None:
        """Record an artifact after the others; without ``run`` every run has it."""
        entries = []
        for path, content in sorted(files.items()):
            sha256 = hashlib.sha256(content).hexdigest()
            self.blobs[sha256] = content
            entries.append(FileEntry(path, sha256, len(content)))
        name = f"artifacts/{listing_digest(entries)}"
        artifact = artifact_pb2.Artifact(name=name, kind=kind, run=run, attempt=attempt)
        for entry in entries:
            artifact.files.add(path=entry.path, sha256=entry.sha256, size_bytes=entry.size_bytes)
        self.artifacts.append(artifact)

    def ListArtifacts(  # noqa: N802
        self, request: Any, context: Any
    ) -> artifact_pb2.ListArtifactsResponse:
        artifacts = [
            one
            for one in self.artifacts
            if one.run in ("", request.parent) and request.kind in (0, one.kind)
        ]
        return artifact_pb2.ListArtifactsResponse(artifacts=artifacts)

    def Read(self, request: Any, context: Any) -> Iterator[artifact_pb2.ReadResponse]:  # noqa: N802
        content = self.blobs[request.resource_name.removeprefix("blobs/")]
        yield artifact_pb2.ReadResponse(data=content[request.read_offset :])

    def GetArtifact(self, request: Any, context: Any) -> Any:  # noqa: N802
        artifact = next((a for a in self.artifacts if a.name == request.name), None)
        if artifact is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {request.name}")
        return artifact

    def QueryWriteStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "not needed")

    def Write(self, requests: Any, context: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "not needed")


class Models(model_pb2_grpc.ModelServiceServicer):
    """ModelService for reading, with the files among the artifacts' blobs."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._models: dict[str, model_pb2.Model] = {}

    def add(self, name: str, files: dict[str, bytes]) -> None:
        """Store a model."""
        self._artifacts.add(artifact_pb2.ARTIFACT_KIND_MODEL, files, run="models")
        artifact = self._artifacts.artifacts.pop()
        model = model_pb2.Model(name=f"models/{name}", artifact=artifact)
        self._models[model.name] = model

    def GetModel(self, request: Any, context: Any) -> model_pb2.Model:  # noqa: N802
        if request.name not in self._models:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {request.name}")
        return self._models[request.name]


class Fleet(worker_pb2_grpc.FleetServiceServicer):
    """FleetService with one worker, one of whose slots is in quarantine."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []
        self.worker = worker_pb2.Worker(
            name="workers/w1",
            state=worker_pb2.WORKER_STATE_ONLINE,
            pools=["cpu"],
            slots=[
                worker_pb2.Slot(id="cpu-0", stage="runs/r/stages/train"),
                worker_pb2.Slot(id="cpu-1", quarantine="a process is left"),
            ],
        )

    def ListWorkers(self, request: Any, context: Any) -> worker_pb2.ListWorkersResponse:  # noqa: N802
        long_gone = worker_pb2.Worker(name="workers/w0", state=worker_pb2.WORKER_STATE_OFFLINE)
        workers = [long_gone, self.worker] if request.all else [self.worker]
        return worker_pb2.ListWorkersResponse(workers=workers)

    def GetWorker(self, request: Any, context: Any) -> worker_pb2.Worker:  # noqa: N802
        if request.name != self.worker.name:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such worker")
        return self.worker

    def DrainWorker(self, request: Any, context: Any) -> worker_pb2.Worker:  # noqa: N802
        self.worker.state = worker_pb2.WORKER_STATE_DRAINING
        self.worker.drained = True
        return self.GetWorker(request, context)

    def UndrainWorker(self, request: Any, context: Any) -> worker_pb2.Worker:  # noqa: N802
        self.worker.state = worker_pb2.WORKER_STATE_ONLINE
        self.worker.drained = False
        return self.GetWorker(request, context)

    def ForgetWorker(self, request: Any, context: Any) -> worker_pb2.ForgetWorkerResponse:  # noqa: N802
        self.GetWorker(request, context)
        if self.worker.state != worker_pb2.WORKER_STATE_OFFLINE:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "workers/w1 is alive")
        self.forgotten.append(request.name)
        return worker_pb2.ForgetWorkerResponse()

    def RevokeWorkerCertificate(self, request: Any, context: Any) -> Any:  # noqa: N802
        time = timestamp_pb2.Timestamp(seconds=1_700_000_000)
        return worker_pb2.RevokeWorkerCertificateResponse(revoke_time=time)

    def ListPools(self, request: Any, context: Any) -> worker_pb2.ListPoolsResponse:  # noqa: N802
        pool = worker_pb2.Pool(name="cpu", workers=1, slots=1, busy_slots=1, queued_stages=3)
        return worker_pb2.ListPoolsResponse(pools=[pool])


class Sessions(session_pb2_grpc.SessionServiceServicer):
    """SessionService of a control plane with an OpenID provider, once ``options`` is set."""

    def __init__(self) -> None:
        self.options: session_pb2.LoginOptions | None = None

    def GetLoginOptions(self, request: Any, context: Any) -> session_pb2.LoginOptions:  # noqa: N802
        if self.options is None:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "knows no OpenID provider")
        return self.options


class ControlPlaneTwin:
    """The server with its parts; it can be killed and come back on the same port."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.runs = Runs(self.faults)
        self.datasets = Datasets(self.faults)
        self.baselines = Baselines(self.faults)
        self.eval_sets = EvalSets()
        self.fleet = Fleet()
        self.sessions = Sessions()
        self.artifacts = Artifacts()
        self.models = Models(self.artifacts)
        self.port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        run_pb2_grpc.add_RunServiceServicer_to_server(self.runs, self.server)
        baseline_pb2_grpc.add_BaselineServiceServicer_to_server(self.baselines, self.server)
        dataset_pb2_grpc.add_DatasetServiceServicer_to_server(self.datasets, self.server)
        evalset_pb2_grpc.add_EvalSetServiceServicer_to_server(self.eval_sets, self.server)
        artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(self.artifacts, self.server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(self.models, self.server)
        worker_pb2_grpc.add_FleetServiceServicer_to_server(self.fleet, self.server)
        session_pb2_grpc.add_SessionServiceServicer_to_server(self.sessions, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        self.server.start()

    def kill(self) -> None:
        self.server.stop(0).wait()
