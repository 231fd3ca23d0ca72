"""The yardstick of publishing: a server that takes the same stream and stores nothing.

``python -m benchmarks.load.raw_stream`` prints its port and serves until it is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from tailrace.v1 import stage_pb2

SERVICE = stage_pb2.DESCRIPTOR.services_by_name["StageService"].full_name


async def publish_events(
    requests: AsyncIterator[stage_pb2.PublishEventsRequest], _context: Any
) -> AsyncIterator[stage_pb2.PublishEventsResponse]:
    """Acknowledge each batch as soon as it is read; nothing is durable."""
    async for request in requests:
        last = request.first_sequence + len(request.events) - 1
        yield stage_pb2.PublishEventsResponse(acknowledged_sequence=last)


async def main() -> None:
    """Serve."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 * 1024 * 1024)])
    handler = grpc.stream_stream_rpc_method_handler(
        publish_events,
        stage_pb2.PublishEventsRequest.FromString,
        stage_pb2.PublishEventsResponse.SerializeToString,
    )
    methods = grpc.method_handlers_generic_handler(SERVICE, {"PublishEvents": handler})
    server.add_generic_rpc_handlers((methods,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
