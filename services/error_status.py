"""Mapping of errors to ``google.rpc.Status``, as clients receive it."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from services.domain.errors import (
    DOMAIN,
    Code,
    DomainError,
    InvalidInput,
    QuotaExceeded,
    ResourceExhausted,
)

MAX_STATUS_BYTES = 4096
"""Maximum size of a status with its details. gRPC clients refuse trailers of more than 8 KiB
(grpc.max_metadata_size), which carry the details in base64 and the message a second time.
"""

_MAX_MESSAGE = 1500
"""Maximum bytes of a status message and of a violation's description, percent-encoded."""

_MAX_METADATA = 200
"""Maximum bytes of a name or value in an error's metadata, percent-encoded."""

_MAX_METADATA_ENTRIES = 4

_MORE_BYTES = 80
"""Room for the number of violations that are left out."""

_CUT_BYTES = len("…".encode()) * 3


def status_of(error: DomainError) -> status_pb2.Status:
    """Return the status of an error, with ErrorInfo and what its class adds.

    Texts are shortened so that the trailers fit into the limits of clients.
    """
    metadata = {
        _cut(name, _MAX_METADATA): _cut(value, _MAX_METADATA)
        for name, value in list(error.metadata.items())[:_MAX_METADATA_ENTRIES]
    }
    error_info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    message = _cut(error.message, _MAX_MESSAGE)
    status = status_pb2.Status(code=int(error.code), message=message, details=[_packed(error_info)])
    if isinstance(error, InvalidInput):
        status.details.append(_packed(_bad_request(error, MAX_STATUS_BYTES - status.ByteSize())))
    if isinstance(error, QuotaExceeded):
        failure = error_details_pb2.QuotaFailure()
        failure.violations.add(subject=error.subject, description=f"quota {error.quota}")
        status.details.append(_packed(failure))
    if isinstance(error, ResourceExhausted) and error.retry_delay is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(math.ceil(error.retry_delay * 1000))
        status.details.append(_packed(retry))
    return status


def internal_status(error_id: str) -> status_pb2.Status:
    """Return the status of an error outside the tree; the server's log has its details."""
    error_info = error_details_pb2.ErrorInfo(
        reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error_id}
    )
    return status_pb2.Status(
        code=int(Code.INTERNAL),
        message=f"a fault of the server; its log says more under error id {error_id}",
        details=[_packed(error_info)],
    )


def _bad_request(error: InvalidInput, max_bytes: int) -> error_details_pb2.BadRequest:
    """Return the violations that fit, and the number of those that do not."""
    bad_request = error_details_pb2.BadRequest()
    max_bytes -= _MORE_BYTES
    for position, violation in enumerate(error.violations):
        field, description = _cut(violation.field, 200), _cut(violation.description, _MAX_MESSAGE)
        bad_request.field_violations.add(field=field, description=description)
        if bad_request.ByteSize() > max_bytes:
            del bad_request.field_violations[position]
            left_out = error.total - position
            more = "field is" if left_out == 1 else "fields are"
            bad_request.field_violations.add(description=f"and {left_out} more {more} wrong")
            break
    return bad_request


def _cut(text: str, max_bytes: int) -> str:
    """Return a text in valid UTF-8 that takes at most ``max_bytes`` once it is percent-encoded.

    gRPC percent-encodes status messages: each byte of a character that is not printable ASCII
    takes three.
    """
    text = text[: max_bytes + 1].encode("utf-8", "replace").decode()
    size = end = 0
    for position, char in enumerate(text):
        size += 1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode())
        if size <= max_bytes - _CUT_BYTES:
            end = position + 1
        elif size > max_bytes:
            return text[:end] + "…"
    return text


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
