"""Calls of ProjectService."""

from __future__ import annotations

from tailrace.client.call import Paged, Unary, resource
from tailrace.v1 import project_pb2, project_pb2_grpc

_Stub = project_pb2_grpc.ProjectServiceStub


def create_project(project_id: str, *, description: str = "") -> Unary[project_pb2.Project]:
    """Create a project; a repetition with the same description returns the existing one.

    Args:
        project_id: Id of the new project.
        description: Purpose or team.

    Raises:
        InvalidArgument: The id or the description is invalid.
        AlreadyExists: The id is or was that of another project.
        PermissionDenied: The caller is not an administrator.
    """
    request = project_pb2.CreateProjectRequest(
        project_id=project_id, project=project_pb2.Project(description=description)
    )
    return Unary(lambda channel: _Stub(channel).CreateProject, request)


def get_project(name: str) -> Unary[project_pb2.Project]:
    """Return a project.

    Raises:
        NotFound: There is no such project, or the caller has no role in it.
    """
    request = project_pb2.GetProjectRequest(name=resource("projects", name))
    return Unary(lambda channel: _Stub(channel).GetProject, request)


def list_projects(
    *, page_size: int = 0, limit: int | None = None
) -> Paged[project_pb2.ListProjectsResponse, project_pb2.Project]:
    """Iterate over the projects in which the caller has a role, sorted by name.

    Args:
        page_size: Projects per request (default: the server's choice).
        limit: Maximum number of projects (default: all).
    """
    request = project_pb2.ListProjectsRequest(page_size=page_size)
    return Paged(
        lambda channel: _Stub(channel).ListProjects, request, lambda page: page.projects, limit
    )


def delete_project(name: str) -> Unary[project_pb2.DeleteProjectResponse]:
    """Delete an empty project for good; its id is not used again.

    Raises:
        NotFound: There is no such project.
        FailedPrecondition: The project has runs, content or tokens.
        PermissionDenied: The caller is not an administrator.
    """
    request = project_pb2.DeleteProjectRequest(name=resource("projects", name))
    return Unary(lambda channel: _Stub(channel).DeleteProject, request)
