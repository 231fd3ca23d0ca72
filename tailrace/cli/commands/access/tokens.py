"""``tailrace tokens``: API tokens, for owners of projects and administrators."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from tailrace.cli.embedded.stack import require_extras
from tailrace.cli.errors import CommandError
from tailrace.cli.options import Json, Limit, Server, connect
from tailrace.cli.show import output
from tailrace.protomap import enum_word
from tailrace.v1 import project_pb2, token_pb2

app = typer.Typer(help="API tokens: create, list and revoke them.", no_args_is_help=True)

SCOPES = ("read", "write", "admin", "worker")

ROLES = ("viewer", "editor", "owner")

ALL_PROJECTS = "projects/-"
"""Name that stands for every project."""

Name = Annotated[
    str, typer.Argument(metavar="TOKEN", help="Id or name (`tokens/…`), not the secret.")
]


@app.command("create")
def create(
    role: Annotated[
        str,
        typer.Option(
            "--role",
            metavar="ROLE",
            help="Role in the project: viewer (default); editor, who creates and changes; or "
            "owner, who also manages tokens.",
        ),
    ] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="In place of a role: read; write, which includes read; or, in every project, "
            "admin, or worker with --worker and --pool.",
        ),
    ] = None,
    all_projects: Annotated[
        bool, typer.Option("--all-projects", help="Give the rights in every project.")
    ] = False,
    description: Annotated[
        str, typer.Option("--description", metavar="TEXT", help="Who or what holds it.")
    ] = "",
    days: Annotated[
        int | None,
        typer.Option("--days", metavar="N", min=1, help="Days until it expires (default: never)."),
    ] = None,
    worker: Annotated[
        str,
        typer.Option("--worker", metavar="WORKER", help="Worker that holds it; for worker alone."),
    ] = "",
    pool: Annotated[
        list[str] | None,
        typer.Option("--pool", metavar="POOL", help="Pool that the worker may serve; repeatable."),
    ] = None,
    bootstrap: Annotated[
        bool,
        typer.Option(
            "--bootstrap",
            help="Make an admin token on the server's host, from its settings, without a token.",
        ),
    ] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Create a token and print its secret, which is not shown again.

    The first one is made with --bootstrap: the command then opens the database of the control plane
    itself, whose settings (TAILRACE_DATABASE_URL) it needs.
    """
    if bootstrap:
        _bootstrap(description, days)
    if role and role not in ROLES:
        raise CommandError(f"--role {role!r} must be one of {', '.join(ROLES)}")
    scopes = scope or []
    for name in scopes:
        if name not in SCOPES:
            raise CommandError(f"--scope {name!r} must be one of {', '.join(SCOPES)}")
    expire_time = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with connect(server) as client:
        response = client.create_token(
            scopes,
            role=role or ("" if scopes else "viewer"),
            project=ALL_PROJECTS if all_projects else "",
            description=description,
            expire_time=expire_time,
            worker=worker,
            pools=pool or (),
        )
    if as_json:
        output.print_json(output.plain(response))
        return
    _print(response.token)
    typer.echo(response.secret)


@app.command("list")
def list_(limit: Limit = None, server: Server = None, as_json: Json = False) -> None:
    """List tokens, revoked and expired ones included.

    An owner sees those of the project, an administrator all.
    """
    with connect(server) as client:
        tokens = list(client.list_tokens(limit=limit))
    if as_json:
        output.print_messages(tokens)
        return
    rows = [
        (
            token.name.removeprefix("tokens/"),
            token.project.removeprefix("projects/"),
            _rights(token),
            _state(token),
            _moment(token.expire_time),
            _moment(token.last_used_time),
            token.description,
        )
        for token in tokens
    ]
    output.print_table(
        ["TOKEN", "PROJECT", "RIGHTS", "STATE", "EXPIRES", "LAST USED", "DESCRIPTION"],
        rows,
        text=("DESCRIPTION",),
    )


@app.command("revoke")
def revoke(token: Name, server: Server = None, as_json: Json = False) -> None:
    """Revoke a token for good; its streams end within 10 seconds."""
    if token.startswith("tr_"):
        raise CommandError("give the id of the token, not its secret: the command line is public")
    with connect(server) as client:
        revoked = client.revoke_token(token)
    if as_json:
        output.print_json(output.plain(revoked))
        return
    _print(revoked)


def _bootstrap(description: str, days: int | None) -> None:
    require_extras({"sqlalchemy"})
    arguments = [sys.executable, "-m", "services.bootstrap"]
    if description:
        arguments += ["--description", description]
    if days is not None:
        arguments += ["--days", str(days)]
    os.execve(sys.executable, arguments, os.environ)  # noqa: S606


def _print(token: token_pb2.Token) -> None:
    binding = [("worker", token.worker), ("pools", ", ".join(token.pools))]
    output.print_fields(
        [
            ("token", token.name),
            ("project", token.project),
            ("rights", _rights(token)),
            *(binding if token.worker else []),
            ("state", _state(token)),
            ("expires", _moment(token.expire_time)),
            ("description", token.description),
        ]
    )


def _rights(token: token_pb2.Token) -> str:
    """Return the role of a token, or its scopes in every project."""
    if token.role:
        return enum_word(project_pb2.ProjectRole.DESCRIPTOR, token.role)
    return ", ".join(enum_word(token_pb2.TokenScope.DESCRIPTOR, scope) for scope in token.scopes)


def _state(token: token_pb2.Token) -> str:
    if token.HasField("revoke_time"):
        return "REVOKED"
    expires = token.HasField("expire_time")
    is_over = expires and token.expire_time.ToDatetime(UTC) <= datetime.now(UTC)
    return "EXPIRED" if is_over else "IN FORCE"


def _moment(time: Timestamp) -> str:
    return output.moment(time) if time.seconds else "never"
