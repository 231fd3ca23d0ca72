"""Baselines: names for runs that other runs are compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from services.domain.errors import InvalidInput
from services.domain.run import run_name
from tailrace.formats.resource_id import RESOURCE_ID


@dataclass(frozen=True)
class Baseline:
    """A name for a run."""

    baseline_id: str
    """The id in ``baselines/{baseline}``."""
    run_uid: str
    """Uid of the run."""
    run_id: str
    """Id of the run."""
    description: str
    """Purpose of the baseline, in a sentence."""
    create_time: datetime
    """Time of creation."""
    update_time: datetime
    """Time of the last change."""

    @property
    def name(self) -> str:
        """Resource name, ``baselines/{baseline}``."""
        return f"baselines/{self.baseline_id}"

    @property
    def run(self) -> str:
        """Resource name of the run, ``runs/{run}``."""
        return run_name(self.run_id)


def parse_baseline_name(name: str, field: str = "name") -> str:
    """Return the id in ``baselines/{baseline}``; raise :class:`InvalidInput` naming ``field``."""
    collection, _, baseline_id = name.partition("/")
    if collection != "baselines" or not re.fullmatch(RESOURCE_ID, baseline_id):
        raise InvalidInput.field(
            field, f"{name[:200]!r} is not a baseline's name: must be like baselines/main"
        )
    return baseline_id
