"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tailrace.channel import DEFAULT_SERVER, SERVER_VARIABLE, server_address
from tailrace.cli.errors import CommandError
from tailrace.client.aio import AsyncClient
from tailrace.client.blocking import Client
from tailrace.formats.service_url import broker_url, database_url, holds_password
from tailrace.retry import RetryPolicy


def is_on_command_line(context: typer.Context, name: str) -> bool:
    """Return True if an option was given as such, rather than by a variable or not at all."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _service_url(
    normalize: Callable[[str], str],
) -> Callable[[typer.Context, typer.CallbackParam, str | None], str | None]:
    """Make the callback of an option that is a URL: checked, and without a password in ``ps``."""

    def callback(
        context: typer.Context, parameter: typer.CallbackParam, value: str | None
    ) -> str | None:
        if not value:
            return None
        name = parameter.name or ""
        variable = f"TAILRACE_{name.upper()}"
        on_command_line = is_on_command_line(context, name)
        if on_command_line and holds_password(value):
            raise CommandError(
                "a password on the command line can be read by every user of this machine: set "
                f"{variable} instead"
            )
        try:
            return normalize(value)
        except ValueError as error:
            option = f"--{name.replace('_', '-')}" if on_command_line else variable
            raise CommandError(f"{option} {error}") from error

    return callback


Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar=SERVER_VARIABLE,
        help=f"host:port of the control plane; else {DEFAULT_SERVER}.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Limit = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Print at most so many.")]
DataDir = Annotated[
    Path, typer.Option("--data-dir", help="Where the embedded stack keeps everything.")
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        envvar="TAILRACE_DATABASE_URL",
        help="postgresql://… instead of SQLite in the data directory. With a password only by "
        "the variable.",
        show_default=False,
        callback=_service_url(database_url),
    ),
]
BrokerUrl = Annotated[
    str | None,
    typer.Option(
        "--broker-url",
        envvar="TAILRACE_BROKER_URL",
        help="amqp://… or redis://… instead of the embedded Valkey. With a password only by the "
        "variable.",
        show_default=False,
        callback=_service_url(broker_url),
    ),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder to write to; made if it is not there.")
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Id, name (`runs/…`) or uid of the run.")
]

RETRY = RetryPolicy(attempts=6)
"""Somebody waits at the terminal: a server that is not there is told within some seconds."""

ONE_TRY = RetryPolicy(attempts=1)
"""For a server that need not be there."""


def connect(server: str | None, retry: RetryPolicy | None = None) -> Client:
    """The client of a command. Raises ``BadParameter`` for an address that is none."""
    return Client(address(server), retry=retry or RETRY)


def connect_aio(server: str | None, retry: RetryPolicy | None = None) -> AsyncClient:
    """The asyncio client of a command; as :func:`connect`."""
    return AsyncClient(address(server), retry=retry or RETRY)


def address(server: str | None) -> str:
    """Return the address of a command's control plane; errors as :func:`connect`."""
    try:
        return server_address(server)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--server") from error
