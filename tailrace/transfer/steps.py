"""The steps that a transfer consists of, apart from how they are carried out.

A job is a generator: it yields steps, is sent their outcome (or has their error raised at the
``yield``), and returns its result. :mod:`tailrace.transfer.blocking` and
:mod:`tailrace.transfer.aio` carry out steps; what a transfer *is* stands in the jobs, once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from tailrace.channel import Channel

T = TypeVar("T")

ASK_SECONDS = 30.0
"""Seconds that one question may take with all its retries."""

SLOWEST_BYTES_PER_SECOND = 64 * 1024
"""Slowest transfer that its deadline still allows."""


@dataclass(frozen=True)
class Work:
    """Blocking work on this machine: files, hashes. Its outcome is what ``do`` returns."""

    do: Callable[[], Any]


@dataclass(frozen=True)
class Ask:
    """One request, repeated while nobody answers; its outcome is the response."""

    method: Callable[[Channel], Any]
    request: Any


@dataclass(frozen=True)
class Send:
    """A client stream; its outcome is the response. The iterators made block while files are read.

    ``size_bytes`` sets the deadline.
    """

    method: Callable[[Channel], Any]
    requests: Callable[[], Iterator[Any]]
    size_bytes: int


@dataclass(frozen=True)
class Receive:
    """A server stream; ``accept`` blocks while it stores a response. ``size_bytes`` as above."""

    method: Callable[[Channel], Any]
    request: Any
    accept: Callable[[Any], None]
    size_bytes: int


@dataclass(frozen=True)
class Resume:
    """A job that may be started anew while nobody answers: it continues where it broke off."""

    start: Callable[[], Job[Any]]


Step: TypeAlias = Work | Ask | Send | Receive | Resume

Job: TypeAlias = Generator[Step, Any, T]


def deadline(size_bytes: int) -> float:
    """Seconds that a stream of so many bytes may take."""
    return ASK_SECONDS + size_bytes / SLOWEST_BYTES_PER_SECOND
