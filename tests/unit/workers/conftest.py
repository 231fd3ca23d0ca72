"""A control plane in memory over real gRPC, and orders for it."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from tailrace.channel import connect
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.protomap import spec_to_proto
from tailrace.v1 import artifact_pb2, run_pb2, stage_pb2
from tailrace.worker_token import VARIABLE
from tests.servers.node import wait_until
from tests.servers.worker_token import token_file, worker_token
from tests.unit.workers.twin import FakeControlPlane
from workers.stage_client import StageClient

STAGE = Path(__file__).with_name("stage.py")
STAGE_COMMAND = (sys.executable, str(STAGE))


@pytest.fixture(autouse=True)
def _worker_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker token, where settings look for it."""
    monkeypatch.setenv(VARIABLE, str(token_file()))


@pytest.fixture
def fake() -> Iterator[FakeControlPlane]:
    """A running control plane."""
    control_plane = FakeControlPlane()
    control_plane.start()
    yield control_plane
    control_plane.stop()


@pytest.fixture
def stage_client(fake: FakeControlPlane) -> Iterator[StageClient]:
    """The worker's view of it."""
    with connect(fake.address) as channel:
        yield StageClient(channel, worker_token())


def wait_gone(processes: Iterable[psutil.Process], timeout: float = 5.0) -> None:
    """Wait until none of them runs; one that only waits to be reaped runs no more."""

    def running(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    left = list(processes)
    wait_until(lambda: not any(map(running, left)), f"the end of {left}", timeout)


def make_order(
    fake: FakeControlPlane,
    kind: run_pb2.StageKind.ValueType = run_pb2.STAGE_KIND_TRAIN,
    *,
    timeout: float = 60.0,
    judges: Iterable[Mapping[str, object]] = (),
    **labels: str,
) -> stage_pb2.StageOrder:
    """An order whose stage does what its labels say (tests/unit/workers/stage.py)."""
    spec = parse(
        RunSpec,
        {
            "dataset": "golden-v2@1",
            "model": {"preset": "gpt2-nano"},
            "train": {"max_steps": 5},
            "infer": {"eval_sets": ["eval_v1"]},
            "judges": list(judges),
            "labels": labels,
            "execution": {name: {"timeout": timeout} for name in ("train", "infer", "judge")},
        },
    )
    order = stage_pb2.StageOrder(
        lease_token=secrets.token_hex(8), run="runs/r", kind=kind, spec=spec_to_proto(spec)
    )
    dataset = fake.artifact(artifact_pb2.ARTIFACT_KIND_DATASET, dataset__jsonl=b'{"a": 1}\n')
    order.inputs.append(dataset)
    return order
