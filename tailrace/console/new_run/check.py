"""Checks of a draft: by the schema, then by the control plane without creating a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tailrace.client.aio import AsyncClient
from tailrace.console.new_run.draft import Draft, to_plain
from tailrace.errors import (
    DeadlineExceeded,
    InvalidArgument,
    TailraceError,
    Unauthenticated,
    Unavailable,
)
from tailrace.formats.schema import SpecError, Violation, capped, parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.v1 import run_pb2

_SPEC = "spec."

_FIELDS = {
    "DATASET_NOT_FOUND": "dataset",
    "EVAL_SET_NOT_FOUND": "infer.eval_sets",
    "MODEL_NOT_FOUND": "model.source",
    "CHECKPOINT_NOT_FOUND": "model.source",
    "SOURCE_RUN_FAILED": "model.source",
    "SOURCE_RUN_CANCELLED": "model.source",
    "NO_PREDICTIONS": "predictions",
    "RUN_EXISTS": "run_id",
}
"""Field of each error that names no field itself."""


@dataclass
class Outcome:
    """Result of a check."""

    violations: list[Violation] = field(default_factory=list)
    """Every wrong field."""
    message: str = ""
    """Error that no field has; empty if there is none."""
    run: run_pb2.Run | None = None
    """Run that would be created, or was created; None if there is an error."""


def read(plain: Mapping[str, Any], violations: list[Violation]) -> RunSpec | None:
    """Return the spec of plain data, or append every violation to ``violations``."""
    wrong_paths = {violation.field for violation in violations}
    try:
        spec = parse(RunSpec, plain)
    except SpecError as error:
        violations += [v for v in capped(error.violations) if v.field not in wrong_paths]
        return None
    return None if violations else spec


async def check(
    client: AsyncClient, draft: Draft, run_id: str, request_id: str, *, create: bool = False
) -> Outcome:
    """Check a draft completely, and with ``create`` make it a run.

    Raises:
        Unauthenticated: The visitor has to log in.
        Unavailable: The control plane does not answer.
        DeadlineExceeded: It did not answer in time.
    """
    plain, violations = to_plain(draft)
    spec = read(plain, violations)
    if spec is None:
        return Outcome(violations)
    try:
        run = await client.create_run(
            spec, run_id=run_id, request_id=request_id, validate_only=not create
        )
    except (Unauthenticated, Unavailable, DeadlineExceeded):
        raise
    except InvalidArgument as error:
        fields = [Violation(v.field.removeprefix(_SPEC), v.description) for v in error.violations]
        return Outcome(fields, "" if fields else error.message)
    except TailraceError as error:
        place = _FIELDS.get(error.reason)
        if place is None:
            return Outcome(message=error.message)
        return Outcome([Violation(place, error.message)])
    return Outcome(run=run)
