"""Every error that the SDK raises, one class per gRPC status code.

====================== ======================= ==================================================
class                  gRPC code               when
====================== ======================= ==================================================
``Cancelled``          CANCELLED               the call was cancelled on this side
``Unknown``            UNKNOWN                 the server, or a proxy before it, did not say
``InvalidArgument``    INVALID_ARGUMENT        input is wrong; ``violations`` names every field
``DeadlineExceeded``   DEADLINE_EXCEEDED       no answer in time; the call may have had its effect
``NotFound``           NOT_FOUND               the run, dataset, model … does not exist
``AlreadyExists``      ALREADY_EXISTS          the id is taken by something else
``PermissionDenied``   PERMISSION_DENIED       the caller may not do this
``ResourceExhausted``  RESOURCE_EXHAUSTED      over a size limit or a quota
``FailedPrecondition`` FAILED_PRECONDITION     not in this state; ``reason`` says which rule
``Aborted``            ABORTED                 lost a race; try the whole operation again
``OutOfRange``         OUT_OF_RANGE            past the end
``Unimplemented``      UNIMPLEMENTED           the server is older than this client
``Internal``           INTERNAL                a fault of the server; its log has the details
``Unavailable``        UNAVAILABLE             nobody answers, also after the retries
``DataLoss``           DATA_LOSS               received data does not match its digest
``Unauthenticated``    UNAUTHENTICATED         no valid credentials
====================== ======================= ==================================================

All derive from :class:`TailraceError`. They are decoded from ``google.rpc.Status`` (AIP-193):
``ErrorInfo`` gives ``reason`` and ``metadata``, ``BadRequest`` the violations.
"""

# ruff: noqa: N818 - the names are those of the gRPC codes
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.parse import unquote

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tailrace.formats.schema import Violation


class TailraceError(Exception):
    """A call failed; the subclass says how, ``str()`` what was wrong."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        """What was wrong, where, and the way out."""
        self.reason = reason
        """UPPER_SNAKE_CASE, stable, for programs (``LEASE_LOST``); empty when none was given."""
        self.metadata = MappingProxyType(dict(metadata or {}))
        """Further facts about the reason."""
        self.violations = tuple(violations)
        """Every wrong field of the request."""

    def __str__(self) -> str:
        # A server may have put them into its message already.
        untold = [v for v in self.violations if v.description not in self.message]
        if not untold:
            return self.message
        return f"{self.message} ({'; '.join(f'{v.field}: {v.description}' for v in untold)})"


class Cancelled(TailraceError):
    """CANCELLED."""

    code = grpc.StatusCode.CANCELLED


class Unknown(TailraceError):
    """UNKNOWN."""

    code = grpc.StatusCode.UNKNOWN


class InvalidArgument(TailraceError):
    """INVALID_ARGUMENT; ``violations`` names every wrong field at once."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineExceeded(TailraceError):
    """DEADLINE_EXCEEDED."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFound(TailraceError):
    """NOT_FOUND."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(TailraceError):
    """ALREADY_EXISTS."""

    code = grpc.StatusCode.ALREADY_EXISTS


class PermissionDenied(TailraceError):
    """PERMISSION_DENIED."""

    code = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhausted(TailraceError):
    """RESOURCE_EXHAUSTED."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPrecondition(TailraceError):
    """FAILED_PRECONDITION; ``reason`` names the rule."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(TailraceError):
    """ABORTED."""

    code = grpc.StatusCode.ABORTED


class OutOfRange(TailraceError):
    """OUT_OF_RANGE."""

    code = grpc.StatusCode.OUT_OF_RANGE


class Unimplemented(TailraceError):
    """UNIMPLEMENTED."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(TailraceError):
    """INTERNAL."""

    code = grpc.StatusCode.INTERNAL


class Unavailable(TailraceError):
    """UNAVAILABLE."""

    code = grpc.StatusCode.UNAVAILABLE


class DataLoss(TailraceError):
    """DATA_LOSS."""

    code = grpc.StatusCode.DATA_LOSS


class Unauthenticated(TailraceError):
    """UNAUTHENTICATED."""

    code = grpc.StatusCode.UNAUTHENTICATED


# What the messages of gRPC's core hold, the most telling first.
_PEER = re.compile(r"(?:(?:ipv4|ipv6|unix):|lookup failed for )(\S+?): ")
_CLUES = {
    "Connection refused": "nobody answers{at}: the connection was refused",
    "lookup failed": "nobody answers{at}: there is no such host",
    "failed to connect": "nobody answers{at}",
    "Socket closed": "the connection to the control plane broke",
    "Connection reset": "the connection to the control plane broke",
}

_CLASSES: dict[grpc.StatusCode, type[TailraceError]] = {
    cls.code: cls for cls in TailraceError.__subclasses__()
}


def from_rpc(error: grpc.RpcError) -> TailraceError:
    """The typed error of a failed call, blocking or asyncio."""
    # What both kinds of call raise is a call as well, with its code, details and metadata.
    call: Any = error
    code: grpc.StatusCode = call.code()
    cls = _CLASSES.get(code, Unknown)
    status = _rich_status(call)
    if status is None:
        details = str(call.details() or code.name)
        return cls(_plain(details) if code is grpc.StatusCode.UNAVAILABLE else details)
    info = error_details_pb2.ErrorInfo()
    violations: list[Violation] = []
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations += [Violation(v.field, v.description) for v in bad.field_violations]
    message = status.message or code.name
    return cls(message, reason=info.reason, metadata=dict(info.metadata), violations=violations)


def is_unavailable(error: BaseException) -> bool:
    """Whether a failed call may be repeated as it is: nobody answered."""
    if not isinstance(error, grpc.RpcError):
        return False
    code = _code(error)
    # grpc.aio makes this status itself when a connection breaks between two batches of a call.
    broke = code is grpc.StatusCode.INTERNAL and _details(error) == "Internal error from Core"
    return broke or code is grpc.StatusCode.UNAVAILABLE


def _plain(details: str) -> str:
    """What gRPC's core says about a connection, in words; other text as it is.

    The original stays on the error's ``__cause__``.
    """
    peer = _PEER.search(details)
    at = f" at {unquote(peer[1])}" if peer else ""
    for clue, meaning in _CLUES.items():
        if clue in details:
            return meaning.format(at=at)
    return details


def _code(error: grpc.RpcError) -> grpc.StatusCode | None:
    code = getattr(error, "code", None)
    return code() if callable(code) else None


def _details(error: grpc.RpcError) -> str:
    details = getattr(error, "details", None)
    return str(details()) if callable(details) else ""


def _rich_status(call: Any) -> status_pb2.Status | None:
    try:
        return rpc_status.from_call(call)
    except ValueError:
        # Something between us and the server rewrote the plain status: that one counts.
        return None
