"""Baselines: names for runs that others are measured against."""

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
    """The run."""
    run_id: str
    """The run's id."""
    description: str
    """What it stands for, in a sentence."""
    create_time: datetime
    """When the name was made."""
    update_time: datetime
    """When it last changed."""

    @property
    def name(self) -> str:
        """``baselines/{baseline}``."""
        return f"baselines/{self.baseline_id}"

    @property
    def run(self) -> str:
        """``runs/{run}``."""
        return run_name(self.run_id)


def parse_baseline_name(name: str, field: str = "name") -> str:
    """The id of ``baselines/{baseline}``; raises :class:`InvalidInput` naming ``field``."""
    collection, _, baseline_id = name.partition("/")
    if collection != "baselines" or not re.fullmatch(RESOURCE_ID, baseline_id):
        raise InvalidInput.field(
            field, f"{name[:200]!r} is not a baseline's name; it looks like baselines/main"
        )
    return baseline_id
