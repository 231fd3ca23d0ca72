"""Bytes that are not a message get INVALID_ARGUMENT from every method of the API."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

import tailrace
from services.domain.scope import CLIENT_SCOPES, RULES
from services.server import SERVICES
from tailrace.v1 import run_pb2
from tests.servers.worker_token import worker_token

METHODS = [
    method
    for name in SERVICES
    for method in run_pb2.DESCRIPTOR.pool.FindServiceByName(name).methods
]


def call(channel: Any, method: Any, raw: bytes) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    rule = RULES[f"{method.containing_service.name}/{method.name}"]
    secret = {} if rule & CLIENT_SCOPES else {"metadata": worker_token().metadata()}
    if method.client_streaming and method.server_streaming:
        list(channel.stream_stream(path)(iter([raw]), timeout=10, **secret))
    elif method.client_streaming:
        channel.stream_unary(path)(iter([raw]), timeout=10, **secret)
    elif method.server_streaming:
        list(channel.unary_stream(path)(raw, timeout=10, **secret))
    else:
        channel.unary_unary(path)(raw, timeout=10, **secret)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_garbage_is_refused(client: tailrace.Client, method: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(client.channel, method, b"\xff\xff\xff\x01garbage")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_there_are_methods() -> None:
    assert len(METHODS) > 25
