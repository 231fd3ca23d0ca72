"""Projects."""

from __future__ import annotations

from services.api.convert.values import timestamp
from services.domain.access.project import Project
from tailrace.v1 import project_pb2


def project_to_proto(project: Project) -> project_pb2.Project:
    """Return the message of a project."""
    return project_pb2.Project(
        name=project.name,
        description=project.description,
        create_time=timestamp(project.create_time),
    )
