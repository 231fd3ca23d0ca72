"""Runs: their states, names and the values that go with them."""

from __future__ import annotations

import enum
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.domain.errors import InvalidInput
from tailrace.formats.resource_id import RESOURCE_ID, RUN_NAME, RUN_UID
from tailrace.formats.schema import from_mapping, to_mapping
from tailrace.formats.spec.run_spec import RunSpec


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


@dataclass
class StoredSpec:
    """A resolved spec as it is stored, parsed when it is first read.

    It may exceed the bounds of this release: nothing is checked again.
    """

    mapping: dict[str, Any]
    """Plain data, without the keys that are not set."""
    _spec: RunSpec | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, spec: RunSpec) -> StoredSpec:
        """Return a spec with the plain data to store."""
        return cls(to_mapping(spec), spec)

    @property
    def spec(self) -> RunSpec:
        """The typed spec."""
        if self._spec is None:
            self._spec = from_mapping(RunSpec, self.mapping)
        return self._spec


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
    stored_spec: StoredSpec
    """The spec with defaults filled in and versions fixed."""
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

    @property
    def resolved_spec(self) -> RunSpec:
        """The spec with defaults filled in and versions fixed."""
        return self.stored_spec.spec

    @property
    def template_date(self) -> str:
        """The day that chat templates with a clock read, in every stage and attempt."""
        day = self.resolved_spec.template_date
        return day or self.create_time.astimezone(UTC).date().isoformat()


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


def is_run_uid(text: str) -> bool:
    """Return True for text in the form of a run's uid."""
    return re.fullmatch(RUN_UID, text) is not None


def check_run_id(run_id: str, field: str) -> str:
    """``run_id`` itself; raises :class:`InvalidInput` when it is no resource id or like a uid."""
    if is_run_uid(run_id):
        raise InvalidInput.field(
            field, f"{run_id!r} has the form of a uid, which names a run as well: add a letter g-z"
        )
    if not re.fullmatch(RESOURCE_ID, run_id):
        raise InvalidInput.field(
            field, f"{run_id!r} must be 1-63 of a-z, 0-9, '-', a letter first, no '-' at the end"
        )
    return run_id


def parse_run_name(name: str, field: str = "name") -> str:
    """Return the id or uid of ``runs/{run}``; raises :class:`InvalidInput` naming ``field``."""
    if not re.fullmatch(RUN_NAME, name):
        raise InvalidInput.field(
            field, f"{name[:200]!r} is not a run's name; it looks like runs/my-run"
        )
    return name.partition("/")[2]
