"""Caller of the API: on whose behalf a use case runs."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain.scope import CLIENT_SCOPES, Scope

DEFAULT_PROJECT = "default"
"""Project of clients that name none, and of the fleet, which serves all projects."""


@dataclass(frozen=True)
class Caller:
    """Client behind a call."""

    project: str = DEFAULT_PROJECT
    """Project that owns what the call names and creates."""
    scopes: frozenset[Scope] = CLIENT_SCOPES
    """Rights of the caller."""
    token_id: str = ""
    """Id of the caller's API token; empty for the worker token and for callers without a token."""

    @property
    def is_worker(self) -> bool:
        """True if the caller has the rights of a worker alone."""
        return self.scopes == {Scope.WORKER}
