"""The largest requests that the bounds allow, built from descriptors, and the calls of them.

For the tests and the benchmark of what such a request costs the others.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from google.protobuf import message_factory, struct_pb2
from google.protobuf.descriptor import FieldDescriptor

from services.server import SERVICES
from tailrace.channel import connect
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.formats.json_value import MAX_VALUES
from tailrace.formats.limits import MAX_CONDITIONS, MAX_ITEMS, bound_of, request_bytes
from tailrace.formats.listing import MAX_FILES
from tailrace.protomap import from_mapping, is_map, is_repeated
from tailrace.v1 import (
    artifact_pb2,
    dataset_pb2,
    dataset_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
    run_spec_pb2,
    stage_pb2,
    worker_pb2,
)
from tests.servers.worker_token import WorkerStub, worker_token

Values = Mapping[str, Callable[[int], Any] | None]
"""Makes a field's values of numbers, by ``Message.field``; ``None`` only chooses the field among
those that exclude each other."""

_ENTRY_BYTES = 24
"""Fewest bytes of an entry, its tags and lengths included."""

_NESTED = 8
"""Entries within an entry, where it has lists itself."""


def largest(descriptor: Any, values: Values | None = None, share: float = 1.0) -> Any:
    """Return a request that fills this share of the bytes and entries that its bounds allow.

    Fields get their first enum value, the first choice of a one-of, and text as long as there is
    room; ``values`` says otherwise.
    """
    message = message_factory.GetMessageClass(descriptor)()
    room = int(request_bytes(descriptor.name) * share * 0.95)
    _Filling(values or {}, share).fill(message, room, int(MAX_ITEMS * share * 0.95))
    return message


class _Filling:
    def __init__(self, values: Values, share: float) -> None:
        self._values = values
        self._share = share
        self._numbers = itertools.count()

    def fill(self, message: Any, room: int, entries: int) -> None:
        """Set all fields of a message; each takes an equal part of the bytes and entries."""
        fields = self._chosen(message.DESCRIPTOR)
        sized = sum(map(_is_sized, fields)) or 1
        counted = sum(map(_is_counted, fields)) or 1
        for field in fields:
            self._set(message, field, room // sized, entries // counted)

    def _chosen(self, descriptor: Any) -> list[Any]:
        """All fields but those that exclude each other: of these the one with a value, or the
        first."""
        excluded = set()
        for choice in descriptor.oneofs:
            named = [f for f in choice.fields if f"{descriptor.name}.{f.name}" in self._values]
            kept = (named or choice.fields)[0]
            excluded |= {f.name for f in choice.fields if f is not kept}
        return [field for field in descriptor.fields if field.name not in excluded]

    def _set(self, message: Any, field: Any, room: int, entries: int) -> None:
        key = f"{message.DESCRIPTOR.name}.{field.name}"
        if is_map(field):
            held = getattr(message, field.name)
            for _ in range(self._count(key, room, entries)):
                number = next(self._numbers)
                value = _value_of(field)
                if value.message_type is None:
                    held[f"k{number}"] = self._single(f"{key}.value", value, 8)
                else:
                    held[f"k{number}"].SetInParent()
        elif is_repeated(field):
            self._entries(message, field, room, entries)
        elif field.message_type is None or self._values.get(key):
            value = self._single(key, field, room)
            if field.message_type is None:
                setattr(message, field.name, value)
            else:
                getattr(message, field.name).CopyFrom(value)
        else:
            self.fill(getattr(message, field.name), room, entries)

    def _entries(self, message: Any, field: Any, room: int, entries: int) -> None:
        key = f"{message.DESCRIPTOR.name}.{field.name}"
        held = getattr(message, field.name)
        if field.message_type is not None and (make := self._values.get(key)):
            held.extend(make(next(self._numbers)))
            return
        nested = _NESTED if _is_counted(field, within=True) else 0
        count = self._count(key, room, entries // (1 + nested))
        for _ in range(count):
            if field.message_type is None:
                held.append(self._single(key, field, room // count - _ENTRY_BYTES // 2))
            else:
                self.fill(held.add(), room // count - _ENTRY_BYTES // 2, nested)

    def _count(self, key: str, room: int, entries: int) -> int:
        bound = bound_of(*key.split("."))
        assert bound is not None
        assert bound.count is not None
        allowed = entries if not bound.shallow else bound.count
        return max(0, min(int(bound.count * self._share), allowed, room // _ENTRY_BYTES))

    def _single(self, key: str, field: Any, room: int) -> Any:
        if make := self._values.get(key):
            return make(next(self._numbers))
        if field.enum_type is not None:
            return field.enum_type.values[1].number
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            return field.type == FieldDescriptor.TYPE_BOOL or 1
        bound = bound_of(*key.split(".")[:2])
        most = bound.text if bound is not None and bound.text is not None else 8
        text = f"x{next(self._numbers)}".ljust(max(0, min(int(most * self._share), room)), "x")
        return text[:most] if field.type == FieldDescriptor.TYPE_STRING else text[:most].encode()


def _value_of(field: Any) -> Any:
    return field.message_type.fields_by_name["value"]


def _is_counted(field: Any, *, within: bool = False) -> bool:
    """Return whether a field, or the message in it, has entries."""
    if is_repeated(field) and not within:
        return True
    inner = field.message_type
    return inner is not None and any(is_repeated(f) for f in inner.fields)


def _is_sized(field: Any) -> bool:
    """Return whether a field's size varies."""
    of_text = field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
    return of_text or field.message_type is not None or is_repeated(field)


RUN = "largest"
"""Id of the run that the requests are about."""

_SPEC = {
    "dataset": "golden-v2",
    "model": {"preset": "gpt2-nano"},
    "train": {"max_steps": 10},
    "infer": {"eval_sets": ["dataset:train"]},
}


@dataclass(frozen=True)
class Case:
    """One method with its largest messages."""

    name: str
    """The method; with what its message holds, where there are several."""
    method: Any
    """Its descriptor."""
    requests: list[bytes]
    """The messages, one or a stream of them."""

    def call(self, channel: grpc.Channel) -> grpc.StatusCode:
        """Call the method and read all that it answers; returns how that ended."""
        path = f"/{self.method.containing_service.full_name}/{self.method.name}"
        kinds = (
            "stream" if self.method.client_streaming else "unary",
            "stream" if self.method.server_streaming else "unary",
        )
        of_kind: Any = getattr(channel, "_".join(kinds))(path)
        sent = iter(self.requests) if self.method.client_streaming else self.requests[0]
        try:
            answer = of_kind(sent, timeout=60, metadata=worker_token().metadata())
            if self.method.server_streaming:
                for _ in answer:
                    if self.method.name == "WatchRun":
                        answer.cancel()
                        break
        except grpc.RpcError as error:
            status: Any = error
            return status.code()  # type: ignore[no-any-return]
        return grpc.StatusCode.OK


def _of_json(share: float, _number: int) -> run_spec_pb2.RunSpec:
    """A valid spec with as many values of JSON as its judges may have."""
    schema = {"enum": [1] * int((MAX_VALUES - 10) * share)}
    judge = {"name": "json_schema", "json_schema": {"schema": schema}}
    return from_mapping(
        run_spec_pb2.RunSpec, {**_SPEC, "judges": [judge, judge][: MAX_ITEMS // MAX_VALUES]}
    )


def _of_texts(share: float, _number: int) -> run_spec_pb2.RunSpec:
    """A valid spec with as many texts as fit."""
    values = ["x" * 6000] * int(100 * share)
    judges = [{"name": "contains", "contains": {"values": values}}]
    labels = {f"label-{i}": "x" * 256 for i in range(int(32 * share))}
    return from_mapping(run_spec_pb2.RunSpec, {**_SPEC, "judges": judges, "labels": labels})


def _checkpoint(share: float, _number: int) -> list[stage_pb2.StageEvent]:
    """An event whose checkpoint has as many files as it may."""
    files = [
        artifact_pb2.ArtifactFile(path=f"{i}.bin", sha256=f"{i:064x}", size_bytes=1)
        for i in range(int(MAX_FILES * share))
    ]
    saved = stage_pb2.CheckpointSaved(step=1, files=files)
    return [stage_pb2.StageEvent(checkpoint=saved)]


def _small_json(_number: int) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update({"type": "object"})
    return struct


_VARIANTS: dict[str, dict[str, dict[str, Callable[[float, int], Any] | None]]] = {
    "CreateRun": {
        "of every key": {},
        "of JSON": {"CreateRunRequest.spec": _of_json},
        "of texts": {"CreateRunRequest.spec": _of_texts},
    },
    "CompleteStage": {"of training": {}, "of judging": {"StageResult.judge": None}},
    "PublishEvents": {
        "of lines": {},
        "of metrics": {"StageEvent.metric": None},
        "of a checkpoint": {"PublishEventsRequest.events": _checkpoint},
        "of predictions": {"StageEvent.prediction": None},
        "of verdicts": {"StageEvent.verdict": None},
    },
}
"""Contents of a method's message by the name of the case."""

_LEASED = (
    "PublishEventsRequest",
    "CompleteStageRequest",
    "FailStageRequest",
    "ReleaseStageRequest",
)
_OF_RUN = (
    "GetRunRequest",
    "CancelRunRequest",
    "RetryRunRequest",
    "WatchRunRequest",
    "StreamLogsRequest",
    "StreamMetricsRequest",
)
_TOKENS = tuple(
    f"{method.input_type.name}.{field}"
    for name in SERVICES
    for method in run_pb2.DESCRIPTOR.pool.FindServiceByName(name).methods
    for field in ("page_token", "cursor")
    if field in method.input_type.fields_by_name
)


def prepare(channel: grpc.Channel) -> Values:
    """Make what the requests name; returns values that lead as deep as may be."""
    datasets = dataset_pb2_grpc.DatasetServiceStub(channel)
    datasets.SeedDataset(dataset_pb2.SeedDatasetRequest(dataset_id="golden-v2"))
    run = run_pb2_grpc.RunServiceStub(channel).CreateRun(
        run_pb2.CreateRunRequest(run_id=RUN, spec=from_mapping(run_spec_pb2.RunSpec, _SPEC))
    )
    stages = WorkerStub(channel)
    slot = worker_pb2.Slot(id="cpu-0", accelerator=worker_pb2.ACCELERATOR_TYPE_CPU, cores=[0])
    worker = stage_pb2.RegisterWorkerRequest(
        worker_id="w1",
        hostname="host",
        pools=["cpu"],
        slots=[slot],
        protocol_version=PROTOCOL_VERSION,
        instance_id="the-instance-of-w1",
    )
    secret = stages.RegisterWorker(worker).worker_secret
    acquire = stage_pb2.AcquireStageRequest(
        run_uid=run.uid,
        stage="train",
        attempt=1,
        acquire_id="acquire-id-0123456789",
        worker="workers/w1",
        slot="cpu-0",
        worker_secret=secret,
    )
    lease = stages.AcquireStage(acquire).run.lease_token
    run_name, worker_name = f"runs/{RUN}", "workers/w1"
    fixed = {
        **{f"{of}.lease_token": lease for of in _LEASED},
        **{f"{of}.name": run_name for of in _OF_RUN},
        **{f"{of}.parent": run_name for of in ("ListPredictionsRequest", "ListVerdictsRequest")},
        "ListArtifactsRequest.parent": run_name,
        "WorkerHeartbeatRequest.worker": worker_name,
        "WorkerHeartbeatRequest.lease_tokens": lease,
        "WorkerHeartbeatRequest.worker_secret": secret,
        "WorkerHeartbeatRequest.ended": False,
        "GetWorkerRequest.name": worker_name,
        "AcquireStageRequest.run_uid": run.uid,
        "AcquireStageRequest.worker": worker_name,
        "AcquireStageRequest.worker_secret": secret,
        "RegisterWorkerRequest.worker_id": "large",
        "RegisterWorkerRequest.hostname": "host",
        "RegisterWorkerRequest.instance_id": "the-instance-of-large",
        "RegisterWorkerRequest.protocol_version": PROTOCOL_VERSION,
        "PublishEventsRequest.first_sequence": 1,
        **dict.fromkeys(_TOKENS, ""),
        "StreamLogsRequest.follow": False,
        "StreamMetricsRequest.follow": False,
        "WatchRunRequest.after_revision": 0,
    }
    values: dict[str, Any] = {name: lambda _, value=value: value for name, value in fixed.items()}
    return values | {
        "RegisterWorkerRequest.pools": lambda number: f"p{number}",
        "ArtifactFile.path": lambda number: f"model-{number:05}-of-99999.safetensors",
        "ArtifactFile.sha256": lambda number: f"{number:064x}",
        "ListRunsRequest.filter": lambda _: " AND ".join(['labels.a = "b"'] * MAX_CONDITIONS),
        "ListRunsRequest.order_by": lambda _: "create_time",
        "JudgeSpec.parameters": _small_json,
        "JsonSchemaOptions.schema": _small_json,
    }


def cases(values: Values, share: float) -> Iterator[Case]:
    """The methods that end by themselves, each with the share of its largest request."""
    for name in SERVICES:
        for method in run_pb2.DESCRIPTOR.pool.FindServiceByName(name).methods:
            for what, more in _VARIANTS.get(method.name, {"": {}}).items():
                filled = {
                    **values,
                    **{key: make and partial(make, share) for key, make in more.items()},
                }
                requests = _requests(method, filled, share)
                yield Case(f"{method.name} {what}".strip(), method, requests)


@dataclass(frozen=True)
class Waits:
    """The time that calls took while a case was repeated."""

    request: float
    """Median of the case's own calls, in seconds."""
    slowest: float
    """The slowest GetRun of another client."""
    idle: float
    """The median of its calls with nothing else to do."""

    @property
    def prompt(self) -> bool:
        """True where others were answered in time."""
        return self.slowest <= max(0.25, 50 * self.idle)


def waits(address: str, channel: grpc.Channel, case: Case, calls: int) -> Waits:
    """Repeat a case while another client asks for a run so many times."""
    with connect(address) as second:
        runs = run_pb2_grpc.RunServiceStub(second)
        idle = [_seconds(partial(_get_run, runs)) for _ in range(5)]
        over = threading.Event()
        own: list[float] = []

        def repeat() -> None:
            while not own or not over.is_set():
                own.append(_seconds(partial(case.call, channel)))

        busy = threading.Thread(target=repeat)
        busy.start()
        slowest = max(_seconds(partial(_get_run, runs)) for _ in range(calls))
        over.set()
        busy.join()
    return Waits(statistics.median(own), slowest, statistics.median(idle))


def _get_run(runs: run_pb2_grpc.RunServiceStub) -> None:
    runs.GetRun(run_pb2.GetRunRequest(name=f"runs/{RUN}"))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _requests(method: Any, values: Values, share: float) -> list[bytes]:
    message = largest(method.input_type, values, share).SerializeToString()
    if not method.name.startswith("Import") or not method.client_streaming:
        return [message]
    payload = {f"{method.input_type.name}.data": None}
    data = largest(method.input_type, {**values, **payload}, share)
    return [message, data.SerializeToString()]
