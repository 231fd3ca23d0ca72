"""Errors of the SDK, one class per gRPC status code.

====================== ======================= ==================================================
class                  gRPC code               when
====================== ======================= ==================================================
``Cancelled``          CANCELLED               the call was cancelled on this side
``Unknown``            UNKNOWN                 the server, or a proxy before it, gave no reason
``InvalidArgument``    INVALID_ARGUMENT        input is wrong; ``violations`` names every field
``DeadlineExceeded``   DEADLINE_EXCEEDED       no answer in time; the call may have had its effect
``NotFound``           NOT_FOUND               the run, dataset, model … does not exist
``AlreadyExists``      ALREADY_EXISTS          the id belongs to something else
``PermissionDenied``   PERMISSION_DENIED       the caller may not do this
``ResourceExhausted``  RESOURCE_EXHAUSTED      over a size limit or a quota
``FailedPrecondition`` FAILED_PRECONDITION     not allowed in this state; ``reason`` names the rule
``Aborted``            ABORTED                 lost a race; try the whole operation again
``OutOfRange``         OUT_OF_RANGE            past the end
``Unimplemented``      UNIMPLEMENTED           the server is older than this client
``Internal``           INTERNAL                a fault of the server; its log has the details
``Unavailable``        UNAVAILABLE             no server answers, even after the retries
``DataLoss``           DATA_LOSS               received data does not match its digest
``Unauthenticated``    UNAUTHENTICATED         no valid credentials
====================== ======================= ==================================================

All derive from :class:`TailraceError`, and are decoded from ``google.rpc.Status`` (AIP-193):
``ErrorInfo`` has ``reason`` and ``metadata``, ``BadRequest`` the violations, ``RetryInfo`` the
``retry_delay``.
"""

# ruff: noqa: N818 - the names are those of the gRPC codes
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple
from urllib.parse import unquote

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tailrace.formats.schema import Violation
from tailrace.proxy import proxy_of

HTTP_STATUS = "HTTP_STATUS"
"""Reason of an error response of a proxy or web server in place of the control plane.

``http_status`` in the metadata is the number.
"""


class TailraceError(Exception):
    """Failure of a call; the subclass is its gRPC code, ``str()`` its description."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        """The error, its place, and the way out."""
        self.reason = reason
        """Stable identifier for programs, in UPPER_SNAKE_CASE (``LEASE_LOST``); may be empty."""
        self.metadata = MappingProxyType(dict(metadata or {}))
        """Further facts about the reason."""
        self.violations = tuple(violations)
        """Every wrong field of the request."""
        self.retry_delay = retry_delay
        """Seconds after which the server suggests the same call again; ``None`` if it does not."""

    def __str__(self) -> str:
        # A server may have included them in its message.
        further = [v for v in self.violations if v.description not in self.message]
        if not further:
            return self.message
        return f"{self.message} ({'; '.join(f'{v.field}: {v.description}' for v in further)})"


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


# Patterns of the messages of gRPC's core, the most specific first.
_PEER = re.compile(r"(?:(?:ipv4|ipv6|unix):|lookup failed for )(\S+?): ")
_CLUES = {
    "Hostname Verification Check failed": "the certificate of the server{at} is for another host "
    "name: call it by a name that its certificate has",
    "certificate has expired": "the certificate of the server{at} is not trusted: it has expired",
    "unable to get local issuer|self.signed certificate": "the certificate of the server{at} is "
    "not trusted: its authority is not the one of TAILRACE_CA_FILE",
    "WRONG_VERSION_NUMBER": "the server{at} does not answer with TLS: it speaks plaintext",
    "CERTIFICATE_VERIFY_FAILED": "the certificate of the server{at} is not trusted",
    "failed to connect.*Socket closed": "the server{at} closed the connection at once: it may "
    "expect TLS (TAILRACE_CA_FILE), or it may require a client certificate (TAILRACE_CERT_FILE)",
    "Connection refused": "no server answers{at}: the connection was refused",
    "lookup failed": "no server answers{at}: there is no such host",
    r"http1\.x server": "the server{at} speaks HTTP/1: it is not a control plane",
    "failed to connect": "no server answers{at}",
    "Socket closed": "the connection to the control plane broke",
    "Connection reset": "the connection to the control plane broke",
}
_PROXY_REFUSAL = re.compile(r"HTTP proxy returned response code (\d+)")
_HTTP_STATUS = re.compile(r"Received http2 header with status: (\d+)")


class _HttpMeaning(NamedTuple):
    """Meaning of an HTTP status that was received in place of a gRPC response."""

    cls: type[TailraceError]
    text: str


_HTTP = {
    400: _HttpMeaning(Unavailable, "is a plain port used where TLS is expected, or the reverse?"),
    401: _HttpMeaning(Unauthenticated, "it wants credentials, which this client does not send"),
    403: _HttpMeaning(PermissionDenied, "it refuses this client"),
    404: _HttpMeaning(Unavailable, "no control plane is behind this address"),
    405: _HttpMeaning(Unavailable, "no control plane is behind this address"),
    413: _HttpMeaning(
        ResourceExhausted,
        "its limit on a request's size must be raised (nginx: client_max_body_size 0)",
    ),
    429: _HttpMeaning(Unavailable, "it limits the number of requests"),
    502: _HttpMeaning(Unavailable, "it cannot reach the control plane"),
    503: _HttpMeaning(Unavailable, "it cannot reach the control plane, or limits its load"),
    504: _HttpMeaning(
        Unavailable,
        "it waited too long for the control plane; its time limit must be raised "
        "(nginx: grpc_read_timeout, grpc_send_timeout)",
    ),
}
_REDIRECT = _HttpMeaning(Unavailable, "it redirects to another address: use that one")
_OTHER_STATUS = _HttpMeaning(Unknown, "its log has the details")

_CLASSES: dict[grpc.StatusCode, type[TailraceError]] = {
    cls.code: cls for cls in TailraceError.__subclasses__()
}


def from_rpc(error: grpc.RpcError, server: str = "") -> TailraceError:
    """Return the typed error of a failed call, blocking or asyncio.

    ``server`` is the address that was called: the message names it if a proxy is involved.
    """
    # The errors of both kinds of call are calls as well, with code, details and metadata.
    call: Any = error
    code: grpc.StatusCode = call.code()
    cls = _CLASSES.get(code, Unknown)
    status = _rich_status(call)
    if status is None:
        details = str(call.details() or code.name)
        http = _HTTP_STATUS.search(details)
        if http:
            return _http_error(int(http[1]))
        return cls(_plain(details, server) if code is grpc.StatusCode.UNAVAILABLE else details)
    error_info = error_details_pb2.ErrorInfo()
    retry_delay = None
    violations: list[Violation] = []
    for detail in status.details:
        if detail.Is(error_info.DESCRIPTOR):
            detail.Unpack(error_info)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_delay = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations += [Violation(v.field, v.description) for v in bad.field_violations]
    message = status.message or code.name
    return cls(
        message,
        reason=error_info.reason,
        metadata=dict(error_info.metadata),
        violations=violations,
        retry_delay=retry_delay,
    )


def is_unavailable(error: BaseException) -> bool:
    """Return True if a failed call may be repeated unchanged, because no server answered."""
    if not isinstance(error, grpc.RpcError):
        return False
    code = _code(error)
    # grpc.aio creates this status itself when a connection breaks between two batches of a call.
    broke = code is grpc.StatusCode.INTERNAL and _details(error) == "Internal error from Core"
    return broke or code is grpc.StatusCode.UNAVAILABLE


def retry_delay(error: BaseException) -> float | None:
    """Return the seconds after which a failed call may be repeated unchanged; ``None`` if never.

    0 if no server answered; the server's wish if a quota was exceeded.
    """
    if not isinstance(error, grpc.RpcError):
        return None
    if is_unavailable(error):
        return 0.0
    if _code(error) is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return None
    return from_rpc(error).retry_delay


def _http_error(status: int) -> TailraceError:
    meaning = _HTTP.get(status, _REDIRECT if 300 <= status < 400 else _OTHER_STATUS)
    message = f"a proxy or web server answered HTTP {status} instead of the control plane"
    metadata = {"http_status": str(status)}
    return meaning.cls(f"{message}: {meaning.text}", reason=HTTP_STATUS, metadata=metadata)


def _plain(details: str, server: str) -> str:
    """Translate the message of gRPC's core about a connection; other text stays unchanged.

    The original stays on the error's ``__cause__``.
    """
    peer = _PEER.search(details)
    at = f" at {unquote(peer[1])}" if peer else ""
    proxy = proxy_of(server) if server else None
    if proxy:
        # The peer is the proxy then, though gRPC does not say so.
        at = f" at {server} through the proxy {proxy} (no_proxy turns it off)"
        refusal = _PROXY_REFUSAL.search(details)
        if refusal:
            return (
                f"the proxy {proxy} refuses the connection to {server} (HTTP {refusal[1]}); "
                "no_proxy lists servers to reach without it"
            )
    for clue, meaning in _CLUES.items():
        if re.search(clue, details):
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
        # An intermediary rewrote the plain status, so that it no longer matches: it counts.
        return None
