"""What the control plane tells workers to do."""

from __future__ import annotations

import enum


class Directive(enum.StrEnum):
    """What a worker shall do with a stage, or with itself."""

    CONTINUE = "CONTINUE"
    """Go on."""
    CANCEL = "CANCEL"
    """Stop the stage process and report with ReleaseStage."""
    RELEASE = "RELEASE"
    """Save a checkpoint, stop the stage process and report with ReleaseStage."""
    DRAIN = "DRAIN"
    """Worker only: finish what runs, take no more."""
    LEASE_LOST = "LEASE_LOST"
    """The lease is lost: kill the process group and report nothing."""


class StopReason(enum.StrEnum):
    """Why a delivery is not to be acted on."""

    STALE = "STALE"
    """It names an earlier attempt, or the stage is past it."""
    CANCELLED = "CANCELLED"
    """The run was cancelled before the attempt began."""
    RUNNING_ELSEWHERE = "RUNNING_ELSEWHERE"
    """Another delivery holds the lease."""
    UNKNOWN = "UNKNOWN"
    """There is no such run or stage."""
    DRAINING = "DRAINING"
    """The worker takes no more stages."""
