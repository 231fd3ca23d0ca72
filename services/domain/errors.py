"""The error tree of the control plane.

=====================  ====================  =====================================================
class                  gRPC code             meaning
=====================  ====================  =====================================================
InvalidInput           INVALID_ARGUMENT      fields are wrong; all of them are named
NotFound               NOT_FOUND             the named thing does not exist
AlreadyExists          ALREADY_EXISTS        the name or request id is taken by something else
PermissionDenied       PERMISSION_DENIED     the caller may not do this
FailedPrecondition     FAILED_PRECONDITION   the state of the thing does not allow it
Aborted                ABORTED               another call intervened; try again
OutOfRange             OUT_OF_RANGE          an offset lies past the end
ResourceExhausted      RESOURCE_EXHAUSTED    a limit is exceeded
Unavailable            UNAVAILABLE           unavailable now; the same call may succeed later
Unauthenticated        UNAUTHENTICATED       the call does not carry the secret that it needs
=====================  ====================  =====================================================

Clients see ``google.rpc.Status`` with ``ErrorInfo(reason, domain)``; InvalidInput adds
``BadRequest``, ResourceExhausted ``RetryInfo`` where waiting helps, and QuotaExceeded
``QuotaFailure``. Errors outside this tree reach clients as INTERNAL with an opaque id. The mapping
is in :mod:`services.error_status`.
"""

# ruff: noqa: N818 - the classes carry the names of the gRPC codes they become
from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import ClassVar

from tailrace.formats.schema import Violation, capped

DOMAIN = "tailrace"
"""``ErrorInfo.domain`` of every error."""


class Code(enum.IntEnum):
    """The google.rpc.Code numbers in use."""

    INVALID_ARGUMENT = 3
    """A field is wrong, whatever the state of the system."""
    NOT_FOUND = 5
    """The named thing does not exist."""
    ALREADY_EXISTS = 6
    """The name is taken."""
    PERMISSION_DENIED = 7
    """The caller may not do this."""
    RESOURCE_EXHAUSTED = 8
    """A limit is exceeded."""
    FAILED_PRECONDITION = 9
    """The state of the thing does not allow it."""
    ABORTED = 10
    """Another call intervened."""
    OUT_OF_RANGE = 11
    """An offset is past the end."""
    INTERNAL = 13
    """A fault of the server."""
    UNAVAILABLE = 14
    """The service is unavailable now."""
    UNAUTHENTICATED = 16
    """The secret is missing or wrong."""


class DomainError(Exception):
    """Base of the tree: a stable ``reason`` in UPPER_SNAKE_CASE and a message for people."""

    code: ClassVar[Code]

    def __init__(self, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata


class InvalidInput(DomainError):
    """INVALID_ARGUMENT: ``violations`` names every wrong field by its path in the request."""

    code = Code.INVALID_ARGUMENT

    def __init__(
        self,
        violations: Iterable[Violation],
        reason: str = "INVALID_INPUT",
        count: int | None = None,
    ) -> None:
        """Store the violations; ``count`` is the total if they are only the first of them."""
        listed = list(violations)
        total = len(listed) if count is None else count
        self.total = total
        """Number of wrong fields, of which ``violations`` may name only the first."""
        self.violations = capped(listed, total)
        sentences = "; ".join(f"{v.field}: {v.description}" for v in listed[:10])
        more = f"; and {total - 10} more" if total > 10 else ""
        super().__init__(reason, f"{sentences}{more}")

    @classmethod
    def field(cls, field: str, description: str) -> InvalidInput:
        """Return an error for one wrong field."""
        return cls([Violation(field, description)])


class NotFound(DomainError):
    """NOT_FOUND: the named thing does not exist (any more)."""

    code = Code.NOT_FOUND


class AlreadyExists(DomainError):
    """ALREADY_EXISTS: the name, or the request id, is taken by something else."""

    code = Code.ALREADY_EXISTS


class PermissionDenied(DomainError):
    """PERMISSION_DENIED: the caller may not do this."""

    code = Code.PERMISSION_DENIED


class FailedPrecondition(DomainError):
    """FAILED_PRECONDITION: the state of the thing does not allow it."""

    code = Code.FAILED_PRECONDITION


class LeaseLost(FailedPrecondition):
    """FAILED_PRECONDITION with reason LEASE_LOST: the lease has ended."""

    def __init__(
        self, message: str = "the lease is no longer the stage's; stop the process"
    ) -> None:
        super().__init__("LEASE_LOST", message)


class Aborted(DomainError):
    """ABORTED: another call intervened; the same call may succeed when tried again."""

    code = Code.ABORTED


class OutOfRange(DomainError):
    """OUT_OF_RANGE: an offset lies past the end."""

    code = Code.OUT_OF_RANGE


class ResourceExhausted(DomainError):
    """RESOURCE_EXHAUSTED: a limit is exceeded."""

    code = Code.RESOURCE_EXHAUSTED

    def __init__(
        self, reason: str, message: str, retry_delay: float | None = None, **metadata: str
    ) -> None:
        super().__init__(reason, message, **metadata)
        self.retry_delay = retry_delay
        """Seconds after which the same call may succeed; ``None`` if waiting does not help."""


class QuotaExceeded(ResourceExhausted):
    """RESOURCE_EXHAUSTED by a quota: the metadata names the quota, its limit and its use."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        quota: str,
        project: str,
        limit: int,
        use: int,
        retry_delay: float | None = None,
    ) -> None:
        facts = {"quota": quota, "project": project, "limit": str(limit), "use": str(use)}
        super().__init__(reason, message, retry_delay, **facts)
        self.quota = quota
        """Name of the quota."""
        self.subject = f"projects/{project}"
        """Resource that the quota belongs to."""


class Unavailable(DomainError):
    """UNAVAILABLE: the same call may succeed later or at another replica."""

    code = Code.UNAVAILABLE


class Unauthenticated(DomainError):
    """UNAUTHENTICATED: the call does not carry the secret that it needs."""

    code = Code.UNAUTHENTICATED
