"""Channel whose calls carry a lease."""

from __future__ import annotations

from typing import Any

import grpc

from tailrace.connection import AuthorizedMethod
from tailrace.worker_token import LEASE_HEADER, Metadata


class LeasedChannel(grpc.Channel):
    """Channel over another one, whose calls are for the run of a lease."""

    def __init__(self, channel: grpc.Channel, lease_token: str) -> None:
        self._channel = channel
        self._lease_token = lease_token

    def _metadata(self) -> Metadata:
        return ((LEASE_HEADER, self._lease_token),)

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        """See :class:`grpc.Channel`, like all methods here."""
        self._channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:  # noqa: D102
        self._channel.unsubscribe(callback)

    def unary_unary(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return AuthorizedMethod(self._channel.unary_unary(*args, **options), self._metadata)

    def unary_stream(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return AuthorizedMethod(self._channel.unary_stream(*args, **options), self._metadata)

    def stream_unary(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return AuthorizedMethod(self._channel.stream_unary(*args, **options), self._metadata)

    def stream_stream(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return AuthorizedMethod(self._channel.stream_stream(*args, **options), self._metadata)

    def close(self) -> None:  # noqa: D102
        self._channel.close()

    def __enter__(self) -> LeasedChannel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
