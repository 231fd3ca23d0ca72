"""Runs: their states, names and the values that go with them."""

from __future__ import annotations

import enum
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.domain.errors import InvalidInput
from tailrace.formats.run_spec import RESOURCE_ID


class RunState(enum.StrEnum):
    """State of a run."""

    QUEUED = "QUEUED"
    """Accepted; no stage has started."""
    RUNNING = "RUNNING"
    """A stage has started."""
    CANCELLING = "CANCELLING"
    """Cancellation was asked for; a stage is still stopping."""
    SUCCEEDED = "SUCCEEDED"
    """Every stage succeeded or was skipped. Terminal."""
    FAILED = "FAILED"
    """A stage failed for good. Terminal, can be retried."""
    CANCELLED = "CANCELLED"
    """It was cancelled. Terminal, can be retried."""


RUN_TRANSITIONS: Mapping[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.SUCCEEDED, RunState.CANCELLED}),
    RunState.RUNNING: frozenset(
        {RunState.CANCELLING, RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}
    ),
    RunState.CANCELLING: frozenset({RunState.CANCELLED}),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset({RunState.QUEUED}),
    RunState.CANCELLED: frozenset({RunState.QUEUED}),
}
"""Allowed transitions: state -> states it may move to."""

RUN_TERMINAL = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
"""States in which nothing happens any more unless the run is retried."""


@dataclass(frozen=True)
class Run:
    """One request, as stored."""

    uid: str
    """Never reused; 32 hex digits, so that it fits into task ids."""
    project: str
    """Who owns it."""
    run_id: str
    """Id that its owner knows it by."""
    spec: dict[str, Any]
    """The spec as it was sent, plain data."""
    resolved_spec: dict[str, Any]
    """The spec with defaults filled in and the dataset's version fixed."""
    state: RunState
    """Where it is."""
    revision: int
    """Grows with each change."""
    create_time: datetime
    """When it was accepted."""
    start_time: datetime | None
    """When its first stage started."""
    end_time: datetime | None
    """When it became terminal."""
    update_time: datetime
    """When it last changed."""
    gates: list[dict[str, Any]] | None = None
    """What became of its gates, plain data as in the API; once SUCCEEDED."""

    @property
    def name(self) -> str:
        """``runs/{run}``."""
        return run_name(self.run_id)


@dataclass(frozen=True)
class Transition:
    """One change of state."""

    time: datetime
    """When."""
    stage: str
    """The stage it concerns; empty for the run itself."""
    from_state: str
    """State before; empty at creation."""
    to_state: str
    """State after."""
    reason: str
    """Why, in a few words."""


def new_run_uid() -> str:
    """A uid for a new run."""
    return uuid.uuid4().hex


def new_run_id() -> str:
    """An id for a run whose owner chose none."""
    return f"run-{secrets.token_hex(5)}"


def run_name(run_id: str) -> str:
    """``runs/{run}``."""
    return f"runs/{run_id}"


def check_run_id(run_id: str, field: str) -> str:
    """``run_id`` itself; raises :class:`InvalidInput` when it is no resource id."""
    if not re.fullmatch(RESOURCE_ID, run_id):
        raise InvalidInput.field(
            field, f"{run_id!r} must be 1-63 of a-z, 0-9, '-', a letter first, no '-' at the end"
        )
    return run_id


def parse_run_name(name: str, field: str = "name") -> str:
    """The run id of ``runs/{run}``; raises :class:`InvalidInput` naming ``field``."""
    collection, _, run_id = name.partition("/")
    if collection != "runs" or not re.fullmatch(RESOURCE_ID, run_id):
        raise InvalidInput.field(field, f"{name!r} is not a run's name; it looks like runs/my-run")
    return run_id
