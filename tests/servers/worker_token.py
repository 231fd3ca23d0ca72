"""The worker token of every control plane and worker that tests and benchmarks start."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

from tailrace.v1 import stage_pb2_grpc
from tailrace.worker_token import WorkerToken

_TOKEN = "the-worker-token-of-tests-and-benchmarks"
# Kept for as long as the process, which removes it at its end.
_FOLDER = tempfile.TemporaryDirectory(prefix="tailrace-worker-token-")


@functools.cache
def token_file() -> Path:
    """The file; every process has its own, all with the same token."""
    path = Path(_FOLDER.name) / "worker-token"
    path.touch(mode=0o600)
    path.write_text(_TOKEN)
    return path


@functools.cache
def worker_token() -> WorkerToken:
    """The token as a worker holds it."""
    return WorkerToken(token_file())


class WorkerStub:
    """StageService over a channel, blocking or asyncio, with the token in each call."""

    def __init__(self, channel: Any) -> None:
        stub: Any = stage_pb2_grpc.StageServiceStub(channel)
        self._stub = stub

    def __getattr__(self, method: str) -> Any:
        return functools.partial(getattr(self._stub, method), metadata=worker_token().metadata())
