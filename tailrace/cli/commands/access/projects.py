"""``tailrace projects``: teams that share a control plane and do not see one another."""

from __future__ import annotations

from typing import Annotated

import typer

from tailrace.cli.options import Description, Json, Limit, Server, connect
from tailrace.cli.show import output
from tailrace.v1 import project_pb2

app = typer.Typer(
    help="Projects, which hold runs and content: create, list and delete them.",
    no_args_is_help=True,
)

Name = Annotated[
    str, typer.Argument(metavar="PROJECT", help="Id or name (`projects/…`) of the project.")
]


@app.command("create")
def create(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Id of the new project.")],
    description: Description = "",
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Create a project; for administrators."""
    with connect(server) as client:
        created = client.create_project(project, description=description)
    if as_json:
        output.print_json(output.plain(created))
        return
    _print(created)


@app.command("list")
def list_(limit: Limit = None, server: Server = None, as_json: Json = False) -> None:
    """List the projects in which you have a role."""
    with connect(server) as client:
        projects = list(client.list_projects(limit=limit))
    if as_json:
        output.print_messages(projects)
        return
    rows = [(p.name, output.moment(p.create_time), p.description) for p in projects]
    output.print_table(["PROJECT", "CREATED", "DESCRIPTION"], rows, text=("DESCRIPTION",))


@app.command("delete")
def delete(project: Name, server: Server = None) -> None:
    """Delete an empty project for good; for administrators.

    Its id is not used again. A project that has runs, content or tokens in force stays.
    """
    with connect(server) as client:
        client.delete_project(project)


def _print(project: project_pb2.Project) -> None:
    output.print_fields(
        [
            ("project", project.name),
            ("description", project.description),
            ("created", output.moment(project.create_time)),
        ]
    )
