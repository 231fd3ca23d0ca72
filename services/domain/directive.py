"""Directives to workers, and reasons to ignore a delivery."""

from __future__ import annotations

import enum


class Directive(enum.StrEnum):
    """An instruction to a worker about a stage or about itself."""

    CONTINUE = "CONTINUE"
    """Continue."""
    CANCEL = "CANCEL"
    """Stop the stage process and report with ReleaseStage."""
    RELEASE = "RELEASE"
    """Save a checkpoint, stop the stage process and report with ReleaseStage."""
    DRAIN = "DRAIN"
    """For a worker: finish the running stages and take no more."""
    LEASE_LOST = "LEASE_LOST"
    """Kill the process group and report nothing: the lease is lost."""


class StopReason(enum.StrEnum):
    """Reason for which a delivery must be ignored."""

    STALE = "STALE"
    """The delivery names an earlier attempt, or the stage has moved on."""
    CANCELLED = "CANCELLED"
    """The run was cancelled before the attempt began."""
    RUNNING_ELSEWHERE = "RUNNING_ELSEWHERE"
    """Another delivery holds the lease."""
    UNKNOWN = "UNKNOWN"
    """The run or stage does not exist."""
    DRAINING = "DRAINING"
    """The worker takes no more stages."""
