"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tailrace.access import AccessError
from tailrace.channel import DEFAULT_SERVER, SERVER_VARIABLE
from tailrace.cli.errors import CommandError
from tailrace.client.aio import AsyncClient
from tailrace.client.blocking import Client
from tailrace.environment import resolve
from tailrace.formats.service_url import broker_url, database_url, holds_password
from tailrace.profiles import ProfileError
from tailrace.retry import RetryPolicy
from tailrace.tls_files import TlsFilesError

_LONGEST_ID = 63
"""Characters of the longest id, as RESOURCE_ID has it."""


def is_on_command_line(context: typer.Context, name: str) -> bool:
    """Return True if an option is on the command line, not from a variable or its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _service_url(
    normalize: Callable[[str], str],
) -> Callable[[typer.Context, typer.CallbackParam, str | None], str | None]:
    """Return the callback of a URL option: it checks the URL and refuses passwords in ``ps``."""

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
        metavar="HOST:PORT",
        envvar=SERVER_VARIABLE,
        help=f"Address of the control plane (default: that of the profile, else {DEFAULT_SERVER}).",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Limit = Annotated[
    int | None, typer.Option("--limit", "-n", metavar="N", min=1, help="Maximum number of rows.")
]
DataDir = Annotated[
    Path, typer.Option("--data-dir", metavar="FOLDER", help="Folder of the embedded stack.")
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        envvar="TAILRACE_DATABASE_URL",
        help="postgresql://… instead of SQLite in --data-dir. A URL with a password is read from "
        "the variable only.",
        show_default=False,
        callback=_service_url(database_url),
    ),
]
BrokerUrl = Annotated[
    str | None,
    typer.Option(
        "--broker-url",
        metavar="URL",
        envvar="TAILRACE_BROKER_URL",
        help="amqp://… or redis://… instead of the embedded Valkey. A URL with a password is read "
        "from the variable only.",
        show_default=False,
        callback=_service_url(broker_url),
    ),
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Id, name (`runs/…`) or uid of the run.")
]
RunFile = Annotated[
    Path,
    typer.Option(
        "--file", "-f", metavar="FILE", help="Run file, YAML or JSON.", show_default=False
    ),
]
TokenizerModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Model whose tokenizer and chat template to use: folder, preset, hub id, or imported "
        "`models/…`. Needs the extra `training` on this machine.",
    ),
]
NewRunId = Annotated[
    str, typer.Option("--id", metavar="ID", help="Id of the new run (default: generated).")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a value, such as train.seed=7; repeatable."
    ),
]
FollowRun = Annotated[bool, typer.Option("--follow", help="Show the run until it has ended.")]
FollowStream = Annotated[bool, typer.Option("--follow", help="Continue until the run has ended.")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="Only runs with this label; repeatable."),
]
EvalSetName = Annotated[
    str,
    typer.Option(
        "--eval-set",
        metavar="EVAL_SET",
        help="Only this eval set: every version of `name`, or the one of `name@version`.",
    ),
]
ContentId = Annotated[
    str | None,
    typer.Option("--id", metavar="ID", help="Id (default: from the name of the file or folder)."),
]
Description = Annotated[
    str, typer.Option("--description", metavar="TEXT", help="Description, shown in lists.")
]


def renamed_option(old: str, new: str) -> Any:
    """Return a hidden option that refuses its old spelling and names the new one."""

    def refuse(value: object) -> None:
        if value:
            raise CommandError(f"{old} has a new name: give {new}")

    return typer.Option(old, hidden=True, callback=refuse)


OldFollow = Annotated[bool, renamed_option("-f", "--follow (-f is the run file of `runs create`)")]


def label_conditions(labels: Sequence[str]) -> list[str]:
    """Return the filter conditions of ``NAME=VALUE`` labels.

    Raises:
        CommandError: A label is not of this form.
    """
    return [_label_condition(label) for label in labels]


def _label_condition(label: str) -> str:
    name, equals, value = label.partition("=")
    if not equals or not name:
        raise CommandError(f"--label {label!r} is not of the form NAME=VALUE")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'labels.{name} = "{escaped}"'


def content_id(name: str) -> str:
    """Return the id for imported content with this name.

    Capital letters become small ones, and other characters than letters and digits hyphens; digits
    that come before the first letter are left out.

    Raises:
        CommandError: The name has no letter that an id can begin with.
    """
    words = "-".join(re.findall("[a-z0-9]+", name.lower()))
    id_text = words.lstrip("0123456789-")[:_LONGEST_ID].rstrip("-")
    if not id_text:
        raise CommandError(f"{name!r} gives no id, because it has no letter of a-z: give --id")
    return id_text


RETRY = RetryPolicy(attempts=6)
"""Policy of commands: a user waits, so that a missing server is reported within some seconds."""

ONE_TRY = RetryPolicy(attempts=1)
"""Policy for a server that need not exist."""


def connect(server: str | None, retry: RetryPolicy | None = None) -> Client:
    """Return the client of a command.

    Raises:
        typer.BadParameter: ``server`` is not an address.
        CommandError: A profile, a token or a TLS file cannot be used.
    """
    with _as_usage():
        return Client(server, retry=retry or RETRY)


def connect_aio(server: str | None, retry: RetryPolicy | None = None) -> AsyncClient:
    """Return the asyncio client of a command; errors as :func:`connect`."""
    with _as_usage():
        return AsyncClient(server, retry=retry or RETRY)


def address(server: str | None) -> str:
    """Return the address of a command's control plane; errors as :func:`connect`."""
    with _as_usage():
        return resolve(server)[0]


@contextmanager
def _as_usage() -> Iterator[None]:
    """Report settings with which no server can be called.

    Raises:
        typer.BadParameter: The address is not one.
        CommandError: A profile, a token or a TLS file cannot be used.
    """
    try:
        yield
    except (AccessError, ProfileError, TlsFilesError) as error:
        raise CommandError(str(error)) from error
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--server") from error
