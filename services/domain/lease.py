"""Leases: the right to report for an attempt.

A token is ``{run uid}.{stage}.{attempt}.{secret}`` and so leads to its attempt without an index.
The secret is HMAC-SHA256 (RFC 2104) of the delivery's acquire id under a random salt of the
attempt. Stored are the salt and the secret's sha256: the same acquire id gets the same token again,
and whoever reads the database, which holds no acquire id, can make no token.
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
    """The attempt."""
    secret: str
    """What proves the right to report for it."""

    def __str__(self) -> str:
        return f"{self.task_id}.{self.secret}"

    def opens(self, lease_digest: str) -> bool:
        """Whether this is the token whose secret has that digest."""
        return hmac.compare_digest(_digest(self.secret), lease_digest)


@dataclass(frozen=True)
class NewLease:
    """A lease that was just granted."""

    token: LeaseToken
    """Goes to the worker."""
    salt: str
    """Is stored."""
    digest: str
    """Is stored."""


def grant(task_id: TaskId, acquire_id: str) -> NewLease:
    """A new lease for the delivery ``acquire_id``."""
    salt = secrets.token_hex(16)
    token = derive(task_id, acquire_id, salt)
    return NewLease(token, salt, _digest(token.secret))


def derive(task_id: TaskId, acquire_id: str, salt: str) -> LeaseToken:
    """The token that :func:`grant` made for this delivery under that salt."""
    message = f"{task_id}\n{acquire_id}".encode()
    secret = hmac.new(bytes.fromhex(salt), message, hashlib.sha256).hexdigest()
    return LeaseToken(task_id, secret)


def parse_token(text: str) -> LeaseToken | None:
    """The parts of a token; ``None`` when it is none."""
    task, _, secret = text.rpartition(".")
    task_id = parse_task_id(task)
    return None if task_id is None else LeaseToken(task_id, secret)


def parse_task_id(text: str) -> TaskId | None:
    """A task id that could be one of ours; ``None`` for any other text."""
    return TaskId.parse(text) if _TASK_ID.fullmatch(text) else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
