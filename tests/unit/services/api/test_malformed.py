"""Bytes that are no message get INVALID_ARGUMENT from every method of the API."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

import tailrace
from tailrace.v1 import artifact_pb2, dataset_pb2, model_pb2, run_pb2, stage_pb2, worker_pb2

FILES = (artifact_pb2, dataset_pb2, model_pb2, run_pb2, stage_pb2, worker_pb2)
METHODS = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


def call(channel: Any, method: Any, raw: bytes) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    if method.client_streaming and method.server_streaming:
        list(channel.stream_stream(path)(iter([raw]), timeout=10))
    elif method.client_streaming:
        channel.stream_unary(path)(iter([raw]), timeout=10)
    elif method.server_streaming:
        list(channel.unary_stream(path)(raw, timeout=10))
    else:
        channel.unary_unary(path)(raw, timeout=10)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_garbage_is_refused(client: tailrace.Client, method: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(client.channel, method, b"\xff\xff\xff\x01garbage")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_there_are_methods() -> None:
    assert len(METHODS) > 25
