"""Creating, reading and deleting projects."""

from __future__ import annotations

from services.domain.access.project import Project, project_name
from services.domain.caller import DEFAULT_PROJECT, Caller, unknown_project
from services.domain.errors import AlreadyExists, FailedPrecondition, InvalidInput
from services.domain.names import description_violations, id_violations
from services.domain.pages import take_fitting, text_size
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.storage.engine.columns import utc_now
from services.storage.rows.access import audit
from services.storage.rows.access import projects as store
from services.usecases.context import Context

DEFAULT_PAGE = 100
"""Default page size."""


async def create_project(
    context: Context, caller: Caller, project_id: str, description: str
) -> Project:
    """Store a project; the same id and description return the existing one.

    Raises:
        InvalidInput: The id or the description is not valid.
        AlreadyExists: The id is that of another project, or of a deleted one (PROJECT_EXISTS).
    """
    violations = [
        *id_violations("project_id", project_id),
        *description_violations("project.description", description),
    ]
    if violations:
        raise InvalidInput(violations)
    project = Project(project_id, description, utc_now())
    async with context.database.write() as conn:
        if await store.add(conn, project):
            await audit.record(conn, caller, project.name, project=project_id)
            return project
        earlier = await store.find(conn, project_id)
    if earlier is None or earlier.description != description:
        state = "exists with another description" if earlier else "existed, and ids are not reused"
        raise AlreadyExists("PROJECT_EXISTS", f"{project.name} {state}: choose another id")
    return earlier


async def get_project(context: Context, caller: Caller, project_id: str) -> Project:
    """Return a project. Raises ``NotFound``, also for one in which the caller has no role."""
    if not caller.knows(project_id):
        raise unknown_project(project_id)
    async with context.database.read() as conn:
        project = await store.find(conn, project_id)
    if project is None:
        raise unknown_project(project_id)
    return project


async def list_projects(
    context: Context, caller: Caller, *, size: int, token: str
) -> tuple[list[Project], str]:
    """Return a page of the caller's projects by id, and the next page's token.

    Raises ``InvalidInput``.
    """
    query = ["projects", sorted(caller.projects or ())]
    position = decode_page_token(token, query, [str])
    limit = page_size(size, default=DEFAULT_PAGE)
    after = position[0] if position else ""
    async with context.database.read() as conn:
        rows = await store.page(conn, caller.projects, after=after, limit=limit + 1)
    page = take_fitting([(text_size(row.description), row) for row in rows], limit)
    more = len(page) < len(rows)
    return page, encode_page_token([page[-1].project_id], query) if more else ""


async def delete_project(context: Context, caller: Caller, project_id: str) -> None:
    """Delete an empty project for good.

    What another call creates in it at the same moment stays without a project that names it.

    Raises:
        InvalidInput: It is ``default``.
        NotFound: There is no such project.
        FailedPrecondition: It has runs, content or tokens (PROJECT_NOT_EMPTY).
    """
    if project_id == DEFAULT_PROJECT:
        raise InvalidInput.field("name", f"{project_name(project_id)} cannot be deleted")
    await get_project(context, caller, project_id)
    async with context.database.write() as conn:
        content = await store.list_content(conn, project_id)
        if content:
            raise FailedPrecondition(
                "PROJECT_NOT_EMPTY",
                f"{project_name(project_id)} has {', '.join(content)}: only an empty project can "
                "be deleted; revoke its tokens to close it",
            )
        if await store.mark_deleted(conn, project_id):
            await audit.record(conn, caller, project_name(project_id), project=project_id)
