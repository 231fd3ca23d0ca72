"""Random calls of every method of the API, and what is wrong with an answer."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import message_factory
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from services.domain.scope import CLIENT_SCOPES, RULES
from services.server import SERVICES
from tailrace.v1 import run_pb2
from tests.fuzz.messages import Messages, Texts
from tests.servers.worker_token import worker_token

METHODS = [
    method
    for name in SERVICES
    for method in run_pb2.DESCRIPTOR.pool.FindServiceByName(name).methods
]

SECONDS = 20.0
"""Deadline of a call: no request takes that long."""

FOLLOW_SECONDS = 0.05
"""Deadline of a stream that may wait for news."""

_FOLLOWING = ("WatchRun", "StreamLogs", "StreamMetrics")

_NEVER = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS)
"""Codes of faults of the server."""

BATCH = 200
"""Calls of one run of Hypothesis, which remembers what it has drawn."""


class FuzzError(AssertionError):
    """An answer that no request may get."""


@dataclass
class Fuzzer:
    """Random calls over one channel."""

    channel: Any
    texts: Texts = field(default_factory=Texts)
    codes: Counter[str] = field(default_factory=Counter)
    """Number of answers by code."""
    slowest: tuple[float, str] = (0.0, "")
    """Longest duration of a call that does not follow, with its method."""

    def run(self, number: int, calls: int, stop_time: float = float("inf")) -> int:
        """Make calls from a seed, until a time of the monotonic clock; return their number.

        Raises:
            FuzzError: An answer is wrong; names the request.
        """
        messages = Messages(self.texts)
        by_method = {method.full_name: messages.of(method.input_type) for method in METHODS}
        made = 0
        while made < calls and time.monotonic() < stop_time:
            count = min(BATCH, calls - made)

            @seed(f"{number}/{made}")
            @settings(
                max_examples=count,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(data=st.data(), position=st.integers(0, len(METHODS) - 1))
            def batch(data: st.DataObject, position: int) -> None:
                method = METHODS[position]
                strategy = by_method[method.full_name]
                requests = [data.draw(strategy)]
                if method.client_streaming:
                    requests += data.draw(st.lists(strategy, max_size=2))
                # Hypothesis wants the same draws whenever it is.
                if time.monotonic() < stop_time:
                    self.call(method, requests)

            batch()
            made += count
        return sum(self.codes.values())

    def call(self, method: Any, requests: list[Any]) -> None:
        """Make one call. Raises :class:`FuzzError`."""
        started = time.monotonic()
        follows = method.name in _FOLLOWING
        try:
            for response in self._responses(method, requests):
                self.texts.learn(response)
            code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            # Errors of calls are calls as well.
            failed: Any = error
            code = failed.code()
            self._check(method, requests, failed, follows)
        self.codes[code.name] += 1
        seconds = time.monotonic() - started
        if not follows and seconds > self.slowest[0]:
            self.slowest = (seconds, method.name)

    def _responses(self, method: Any, requests: list[Any]) -> list[Any]:
        path = f"/{method.containing_service.full_name}/{method.name}"
        parse = message_factory.GetMessageClass(method.output_type).FromString
        raws = [request.SerializeToString() for request in requests]
        rule = RULES[f"{method.containing_service.name}/{method.name}"]
        options: dict[str, Any] = {} if rule & CLIENT_SCOPES else {
            "metadata": worker_token().metadata()
        }  # fmt: skip
        options["timeout"] = FOLLOW_SECONDS if method.name in _FOLLOWING else SECONDS
        if method.client_streaming and method.server_streaming:
            return list(self.channel.stream_stream(path, None, parse)(iter(raws), **options))
        if method.client_streaming:
            return [self.channel.stream_unary(path, None, parse)(iter(raws), **options)]
        if method.server_streaming:
            return list(self.channel.unary_stream(path, None, parse)(raws[0], **options))
        return [self.channel.unary_unary(path, None, parse)(raws[0], **options)]

    def _check(self, method: Any, requests: list[Any], error: Any, follows: bool) -> None:
        code = error.code()
        status = rpc_status.from_call(error)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and follows:
            return
        if code in _NEVER or code is grpc.StatusCode.DEADLINE_EXCEEDED:
            problem = f"answered {code.name}: {error.details()}"
        elif status is None:
            problem = f"answered {code.name} without details: {error.details()}"
        elif not any(d.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) for d in status.details):
            problem = f"answered {code.name} without a reason: {error.details()}"
        else:
            return
        shown = "\n".join(
            f"{type(r).__name__} {r.SerializeToString().hex()}\n{r}" for r in requests
        )
        raise FuzzError(f"{method.full_name} {problem}\n{shown[:4000]}")
