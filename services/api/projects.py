"""Servicer of ProjectService."""

from __future__ import annotations

from services.api.convert.project import project_to_proto
from services.api.rpc import Rpc, current_caller
from services.domain.access.project import parse_project_name
from services.usecases.access import projects
from services.usecases.context import Context
from tailrace.v1 import project_pb2, project_pb2_grpc


class ProjectServicer(project_pb2_grpc.ProjectServiceServicer):
    """Servicer of ``protos/tailrace/v1/project.proto``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def CreateProject(
        self, request: project_pb2.CreateProjectRequest, context: Rpc
    ) -> project_pb2.Project:
        """Create a project."""
        return project_to_proto(
            await projects.create_project(
                self._context, current_caller(), request.project_id, request.project.description
            )
        )

    async def GetProject(
        self, request: project_pb2.GetProjectRequest, context: Rpc
    ) -> project_pb2.Project:
        """Return a project."""
        project_id = parse_project_name(request.name)
        return project_to_proto(
            await projects.get_project(self._context, current_caller(), project_id)
        )

    async def ListProjects(
        self, request: project_pb2.ListProjectsRequest, context: Rpc
    ) -> project_pb2.ListProjectsResponse:
        """List the caller's projects by name."""
        page, token = await projects.list_projects(
            self._context, current_caller(), size=request.page_size, token=request.page_token
        )
        return project_pb2.ListProjectsResponse(
            projects=map(project_to_proto, page), next_page_token=token
        )

    async def DeleteProject(
        self, request: project_pb2.DeleteProjectRequest, context: Rpc
    ) -> project_pb2.DeleteProjectResponse:
        """Delete an empty project for good."""
        project_id = parse_project_name(request.name)
        await projects.delete_project(self._context, current_caller(), project_id)
        return project_pb2.DeleteProjectResponse()
