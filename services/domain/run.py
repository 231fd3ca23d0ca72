"""Runs: states, names and stored values."""

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
from tailrace.formats.resource_id import RESOURCE_ID, RUN_MODEL, RUN_NAME, RUN_UID
from tailrace.formats.schema import from_mapping, to_mapping
from tailrace.formats.spec.run_spec import RunSpec


class RunState(enum.StrEnum):
    """State of a run."""

    QUEUED = "QUEUED"
    """Accepted; no stage has started."""
    RUNNING = "RUNNING"
    """A stage has started."""
    CANCELLING = "CANCELLING"
    """Cancellation was requested; a stage is still stopping."""
    SUCCEEDED = "SUCCEEDED"
    """Every stage succeeded or was skipped. Terminal."""
    FAILED = "FAILED"
    """A stage failed for good. Terminal, can be retried."""
    CANCELLED = "CANCELLED"
    """The run was cancelled. Terminal, can be retried."""


RUN_TRANSITIONS: Mapping[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset(
        {RunState.RUNNING, RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}
    ),
    RunState.RUNNING: frozenset(
        {RunState.CANCELLING, RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}
    ),
    RunState.CANCELLING: frozenset({RunState.CANCELLED}),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset({RunState.QUEUED}),
    RunState.CANCELLED: frozenset({RunState.QUEUED}),
}
"""Allowed transitions: the states that may follow each state."""

RUN_TERMINAL = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
"""Terminal states: the run changes no more unless it is retried."""


@dataclass
class StoredSpec:
    """A stored resolved spec, parsed when it is first read.

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
    """Uid that is never reused: 32 hex digits, so that it fits into task ids."""
    project: str
    """Project that owns the run."""
    run_id: str
    """Id that the owner knows the run by."""
    spec: dict[str, Any]
    """The spec as the client sent it, plain data."""
    stored_spec: StoredSpec
    """The spec with defaults filled in and versions fixed."""
    state: RunState
    """Current state."""
    revision: int
    """Number that grows with each change."""
    create_time: datetime
    """Time at which the run was accepted."""
    start_time: datetime | None
    """Time at which the first stage started."""
    end_time: datetime | None
    """Time at which the run became terminal."""
    update_time: datetime
    """Time of the last change."""
    gates: list[dict[str, Any]] | None = None
    """Outcomes of the gates once the run is SUCCEEDED, plain data as in the API."""
    creator: str = ""
    """Subject of the caller that created it; empty for runs of earlier releases."""

    @property
    def name(self) -> str:
        """Resource name, ``runs/{run}``."""
        return run_name(self.run_id)

    @property
    def resolved_spec(self) -> RunSpec:
        """The spec with defaults filled in and versions fixed."""
        return self.stored_spec.spec

    @property
    def template_date(self) -> str:
        """Day that chat templates with a clock read, in every stage and attempt."""
        day = self.resolved_spec.template_date
        return day or self.create_time.astimezone(UTC).date().isoformat()


@dataclass(frozen=True)
class Transition:
    """One change of state."""

    time: datetime
    """Time of the change."""
    stage: str
    """Stage id; empty for transitions of the whole run."""
    from_state: str
    """State before the change; empty at creation."""
    to_state: str
    """State after the change."""
    reason: str
    """Reason, in a few words."""
    actor: str
    """Name of the caller or part that caused the change; empty in histories of earlier releases."""


@dataclass(frozen=True)
class RunModel:
    """Model of another run, as a spec names it."""

    run_id: str
    """Id or uid of the run."""
    step: int | None
    """Step of a checkpoint; None for the final model."""

    @staticmethod
    def is_named(source: str | None) -> bool:
        """Return whether a spec's model source is a run's model."""
        return source is not None and source.startswith("runs/")

    @classmethod
    def parse(cls, source: str, field: str) -> RunModel:
        """Read ``runs/{run}`` or ``runs/{run}@{step}``; raise :class:`InvalidInput` otherwise."""
        if not re.fullmatch(RUN_MODEL, source):
            raise InvalidInput.field(
                field, f"{source[:200]!r} is not a run's model: must be like runs/my-run[@100]"
            )
        run_id, _, step = source.partition("/")[2].partition("@")
        return cls(run_id, int(step) if step else None)

    def __str__(self) -> str:
        name = run_name(self.run_id)
        return name if self.step is None else f"{name}@{self.step}"


def new_run_uid() -> str:
    """Return a uid for a new run."""
    return uuid.uuid4().hex


def new_run_id() -> str:
    """Return an id for a run whose owner chose none."""
    return f"run-{secrets.token_hex(5)}"


def run_name(run_id: str) -> str:
    """Return the resource name ``runs/{run}``."""
    return f"runs/{run_id}"


def is_run_uid(text: str) -> bool:
    """Return whether a text has the form of a run's uid."""
    return re.fullmatch(RUN_UID, text) is not None


def check_run_id(run_id: str, field: str) -> str:
    """Return ``run_id``.

    Raises:
        InvalidInput: It is not a resource id, or has the form of a uid.
    """
    if is_run_uid(run_id):
        raise InvalidInput.field(
            field, f"{run_id!r} has the form of a uid, which names a run as well: add a letter g-z"
        )
    if not re.fullmatch(RESOURCE_ID, run_id):
        raise InvalidInput.field(
            field,
            f"{run_id!r} is not a run id: 1-63 of a-z, 0-9, '-', a letter first, no '-' last",
        )
    return run_id


def parse_run_name(name: str, field: str = "name") -> str:
    """Return the id or uid in ``runs/{run}``; raise :class:`InvalidInput` naming ``field``."""
    if not re.fullmatch(RUN_NAME, name):
        raise InvalidInput.field(
            field, f"{name[:200]!r} is not a run's name: must be like runs/my-run"
        )
    return name.partition("/")[2]
