"""Leases: the right to report for an attempt.

A token is ``{run uid}.{stage}.{attempt}.{secret}``, so that it leads to its attempt without an
index. The secret is HMAC-SHA256 (RFC 2104) of the delivery's acquire id, keyed with a random salt
of the attempt. The database stores the salt and the secret's sha256: the same acquire id yields the
same token again, and a reader of the database cannot make a token, because it has no acquire id.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from tailrace.formats.dispatch import TaskId

_TASK_ID = re.compile(r"[0-9a-f]{32}\.[a-z][a-z0-9_-]{0,62}\.[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class LeaseToken:
    """A parsed token."""

    task_id: TaskId
    """The attempt that the token belongs to."""
    secret: str
    """Proof of the right to report for the attempt."""

    def __str__(self) -> str:
        return f"{self.task_id}.{self.secret}"

    def matches(self, lease_digest: str) -> bool:
        """Return whether the secret of this token has that digest."""
        return hmac.compare_digest(_digest(self.secret), lease_digest)


@dataclass(frozen=True)
class NewLease:
    """A lease that was just granted."""

    token: LeaseToken
    """Token for the worker."""
    salt: str
    """Salt, to be stored."""
    digest: str
    """Digest of the secret, to be stored."""


def grant(task_id: TaskId, acquire_id: str) -> NewLease:
    """Return a new lease for the delivery ``acquire_id``."""
    salt = secrets.token_hex(16)
    token = derive(task_id, acquire_id, salt)
    return NewLease(token, salt, _digest(token.secret))


def derive(task_id: TaskId, acquire_id: str, salt: str) -> LeaseToken:
    """Return the token that :func:`grant` made for this delivery with that salt."""
    message = f"{task_id}\n{acquire_id}".encode()
    secret = hmac.new(bytes.fromhex(salt), message, hashlib.sha256).hexdigest()
    return LeaseToken(task_id, secret)


def parse_token(text: str) -> LeaseToken | None:
    """Return a parsed token, or ``None`` for any other text."""
    task, _, secret = text.rpartition(".")
    task_id = parse_task_id(task)
    return None if task_id is None else LeaseToken(task_id, secret)


def parse_task_id(text: str) -> TaskId | None:
    """Return a well-formed task id, or ``None`` for any other text."""
    return TaskId.parse(text) if _TASK_ID.fullmatch(text) else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
