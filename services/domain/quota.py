"""Quotas: limits of what one project may use; usage: what was used in a window of time."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from services.domain.errors import InvalidInput
from tailrace.formats.spec.run_spec import RESOURCE_ID


class Quota(enum.StrEnum):
    """Quantity whose use by a project is limited."""

    UNFINISHED_RUNS = "unfinished_runs"
    """Runs that have not ended."""
    RUNNING_RUNS = "running_runs"
    """Runs from the publication of their first stage to their end."""
    STORED_BYTES = "stored_bytes"
    """Bytes of all artifacts."""
    REQUESTS_PER_SECOND = "requests_per_second"
    """Calls per second to one control plane."""
    CALLER_REQUESTS_PER_SECOND = "caller_requests_per_second"
    """Calls per second of one caller to one control plane."""
    OPEN_STREAMS = "open_streams"
    """Open server streams of one control plane."""
    UPLOAD_BYTES = "upload_bytes"
    """Bytes of the unfinished uploads to one control plane."""


class UsageGroup(enum.StrEnum):
    """Property of runs that usage is summed up by."""

    PROJECT = "project"
    """The run's project."""
    LABEL = "label"
    """The value of one of the run's labels."""
    USER = "user"
    """The creator of the run."""


@dataclass
class Usage:
    """Sums of one project, label or user."""

    key: str
    """Project, value of the label, or subject of the user; may be empty."""
    slot_seconds: float = 0.0
    """Seconds for which attempts held a slot."""
    tokens_trained: int = 0
    """Tokens of TRAIN stages that succeeded."""
    tokens_generated: int = 0
    """Tokens of INFER stages that succeeded."""
    stored_bytes: int = 0
    """Bytes of artifacts that were first stored."""


MAX_LIMIT = 2**62
"""Largest limit."""


def parse_quotas_name(name: str, own: str, field: str = "name") -> str:
    """Return the project of ``projects/{project}/quotas``; ``own`` for an empty name.

    Raises:
        InvalidInput: Names ``field``.
    """
    if not name:
        return own
    match = re.fullmatch(r"projects/([^/]+)/quotas", name)
    if match is None or not re.fullmatch(RESOURCE_ID, match[1]):
        raise InvalidInput.field(
            field, f"{name[:200]!r} must be like projects/my-project/quotas, or empty"
        )
    return match[1]
