"""Projects: what runs, content and tokens belong to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.domain.errors import InvalidInput
from services.domain.names import id_violations
from tailrace.formats.schema import Violation

_PREFIX = "projects/"


@dataclass(frozen=True)
class Project:
    """A project."""

    project_id: str
    """The id in ``projects/{project}``."""
    description: str
    """Purpose or team."""
    create_time: datetime
    """Time of creation."""

    @property
    def name(self) -> str:
        """Resource name, ``projects/{project}``."""
        return project_name(self.project_id)


def project_name(project_id: str) -> str:
    """Return ``projects/{project}``."""
    return f"{_PREFIX}{project_id}"


def parse_project_name(name: str, field: str = "name") -> str:
    """Return the id in ``projects/{project}``; raise :class:`InvalidInput` naming ``field``."""
    project_id = name.removeprefix(_PREFIX)
    if not name.startswith(_PREFIX) or id_violations(field, project_id):
        problem = f"{name[:200]!r} is not a project's name: `tailrace projects list` shows yours"
        raise InvalidInput([Violation(field, problem)])
    return project_id
