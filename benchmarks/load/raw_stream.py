"""The yardstick of publishing: a server that takes the same stream and stores nothing.

``python -m benchmarks.load.raw_stream`` prints its port and serves until it is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from tailrace.v1 import stage_pb2, stage_pb2_grpc


class RawStream(stage_pb2_grpc.StageServiceServicer):
    """Acknowledges each batch as soon as it is read."""

    async def PublishEvents(  # noqa: N802  # gRPC names it
        self, request_iterator: AsyncIterator[stage_pb2.PublishEventsRequest], context: Any
    ) -> AsyncIterator[stage_pb2.PublishEventsResponse]:
        """Nothing is durable."""
        async for request in request_iterator:
            last = request.first_sequence + len(request.events) - 1
            yield stage_pb2.PublishEventsResponse(acknowledged_sequence=last)


async def main() -> None:
    """Serve."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 * 1024 * 1024)])
    stage_pb2_grpc.add_StageServiceServicer_to_server(RawStream(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
