"""What gRPC alone costs here: a server that takes the stream of log lines and stores nothing.

``python -m benchmarks.load.raw_server`` prints its port and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio

from tailrace.v1 import stage_pb2

SERVICE = stage_pb2.DESCRIPTOR.services_by_name["StageService"].full_name


@contextlib.contextmanager
def raw_server() -> Iterator[str]:
    """The address of one, in a process of its own."""
    argv = [sys.executable, "-m", "benchmarks.load.raw_server"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None:
            raise RuntimeError("the yardstick's output was not opened")
        try:
            yield f"127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


async def publish_events(
    requests: AsyncIterator[stage_pb2.PublishEventsRequest], _context: Any
) -> AsyncIterator[stage_pb2.PublishEventsResponse]:
    """Acknowledge each batch as soon as it is read; nothing is durable."""
    async for request in requests:
        last = request.first_sequence + len(request.events) - 1
        yield stage_pb2.PublishEventsResponse(acknowledged_sequence=last)


async def confirm_dispatch(
    _request: stage_pb2.ConfirmDispatchRequest, _context: Any
) -> stage_pb2.ConfirmDispatchResponse:
    """Answer a call that asks for nothing."""
    return stage_pb2.ConfirmDispatchResponse()


async def main() -> None:
    """Serve."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 * 1024 * 1024)])
    handlers = {
        "PublishEvents": grpc.stream_stream_rpc_method_handler(
            publish_events,
            stage_pb2.PublishEventsRequest.FromString,
            stage_pb2.PublishEventsResponse.SerializeToString,
        ),
        "ConfirmDispatch": grpc.unary_unary_rpc_method_handler(
            confirm_dispatch,
            stage_pb2.ConfirmDispatchRequest.FromString,
            stage_pb2.ConfirmDispatchResponse.SerializeToString,
        ),
    }
    methods = grpc.method_handlers_generic_handler(SERVICE, handlers)
    server.add_generic_rpc_handlers((methods,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
