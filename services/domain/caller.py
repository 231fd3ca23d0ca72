"""Caller of the API: on whose behalf a use case runs."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PROJECT = "default"
"""Project of clients that name none, and of the fleet, which serves all projects."""


@dataclass(frozen=True)
class Caller:
    """Client behind a call."""

    project: str = DEFAULT_PROJECT
    """Project that owns what the call names and creates."""
