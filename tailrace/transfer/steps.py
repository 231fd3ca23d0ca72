"""Steps of transfers, apart from their execution.

A job is a generator: it yields steps, receives the outcome of each (or its error, raised at the
``yield``), and returns its result. :mod:`tailrace.transfer.blocking` and
:mod:`tailrace.transfer.aio` execute steps; the logic of a transfer is in its job, written once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from tailrace.channel import Channel

T = TypeVar("T")

REQUEST_SECONDS = 30.0
"""Seconds that one request may take with all its retries."""

SLOWEST_BYTES_PER_SECOND = 64 * 1024
"""Slowest rate at which a transfer meets its deadline."""


@dataclass(frozen=True)
class Work:
    """Blocking work on this machine, such as hashing; its outcome is the result of ``do``."""

    do: Callable[[], Any]


@dataclass(frozen=True)
class Request:
    """One request, repeated while the control plane is unavailable; its outcome is the response."""

    method: Callable[[Channel], Any]
    request: Any


@dataclass(frozen=True)
class Send:
    """A client stream; its outcome is the response.

    The iterator of ``requests`` blocks while it reads a file; ``size_bytes`` sets the deadline.
    """

    method: Callable[[Channel], Any]
    requests: Callable[[], Iterator[Any]]
    size_bytes: int


@dataclass(frozen=True)
class Receive:
    """A server stream; ``accept`` blocks while it stores a response.

    ``size_bytes`` sets the deadline.
    """

    method: Callable[[Channel], Any]
    request: Any
    accept: Callable[[Any], None]
    size_bytes: int


@dataclass(frozen=True)
class Resume:
    """A job that can start again after an interruption: it continues where it broke off."""

    start: Callable[[], Job[Any]]


Step: TypeAlias = Work | Request | Send | Receive | Resume

Job: TypeAlias = Generator[Step, Any, T]


def deadline(size_bytes: int) -> float:
    """Return the seconds that a stream of ``size_bytes`` may take."""
    return REQUEST_SECONDS + size_bytes / SLOWEST_BYTES_PER_SECOND
