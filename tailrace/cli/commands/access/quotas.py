"""``tailrace quotas`` and ``tailrace usage``: what projects may use, and what they have used."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated

import typer

from tailrace.cli.errors import CommandError
from tailrace.cli.options import Json, Server, connect
from tailrace.cli.show import output
from tailrace.protomap import enum_word
from tailrace.v1 import quota_pb2

app = typer.Typer(help="Quotas of a project: limits and their use.", no_args_is_help=True)

UNLIMITED = "unlimited"
DEFAULT = "default"

_SIZES = (quota_pb2.QUOTA_KIND_STORED_BYTES, quota_pb2.QUOTA_KIND_UPLOAD_BYTES)


class Group(enum.StrEnum):
    """Value of ``--by``."""

    PROJECT = "project"
    LABEL = "label"
    USER = "user"


@app.command("get")
def get(
    project: Annotated[
        str, typer.Argument(metavar="[PROJECT]", help="Id of the project (default: yours).")
    ] = "",
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show the limits of a project and their use."""
    with connect(server) as client:
        _print(client.get_quotas(project), as_json)


@app.command("set")
def set_(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Id of the project.")],
    quotas: Annotated[
        list[str],
        typer.Argument(
            metavar="QUOTA=LIMIT...",
            help="Such as running_runs=4; the limit is a number, `unlimited` or `default`.",
        ),
    ],
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Change limits of a project, as an administrator."""
    limits: dict[str, int | None] = {}
    reset = []
    for text in quotas:
        quota, _, limit = text.partition("=")
        if quota not in _names():
            raise CommandError(f"{text!r} must be QUOTA=LIMIT with one of {', '.join(_names())}")
        if limit == DEFAULT:
            reset.append(quota)
        elif limit == UNLIMITED:
            limits[quota] = None
        elif limit.isdecimal():
            limits[quota] = int(limit)
        else:
            raise CommandError(f"{text!r} must have a number, {UNLIMITED} or {DEFAULT} after '='")
    with connect(server) as client:
        _print(client.set_quotas(limits, reset=reset, project=project), as_json)


def usage(
    by: Annotated[Group, typer.Option("--by", help="What to sum up by.")] = Group.PROJECT,
    label: Annotated[
        str, typer.Option("--label", metavar="NAME", help="Name of the label, with --by label.")
    ] = "",
    start: Annotated[
        datetime | None, typer.Option("--from", help="Begin, in local time (default: the first).")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", help="End, in local time (default: now).")
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Sum up slot-seconds, tokens and stored bytes by project, label or user."""
    with connect(server) as client:
        response = client.sum_usage(
            by.value,
            label=label,
            start_time=None if start is None else start.astimezone(),
            end_time=None if end is None else end.astimezone(),
        )
    if as_json:
        output.print_json(output.plain(response))
        return
    rows = [
        (
            entry.key or "(none)",
            f"{entry.slot_seconds:,.0f}",
            f"{entry.tokens_trained:,}",
            f"{entry.tokens_generated:,}",
            output.size(entry.stored_bytes),
        )
        for entry in response.usage
    ]
    headers = [by.value.upper(), "SLOT-SECONDS", "TOKENS TRAINED", "TOKENS GENERATED", "STORED"]
    output.print_table(headers, rows, text=(headers[0],))
    if response.omitted:
        typer.echo(f"{response.omitted} more with fewer slot-seconds", err=True)


def _names() -> list[str]:
    kinds = quota_pb2.QuotaKind.DESCRIPTOR
    return [enum_word(kinds, value.number) for value in kinds.values if value.number]


def _print(quotas: quota_pb2.Quotas, as_json: bool) -> None:
    if as_json:
        output.print_json(output.plain(quotas))
        return
    rows = [
        (
            enum_word(quota_pb2.QuotaKind.DESCRIPTOR, quota.kind),
            _amount(quota, quota.limit) if quota.HasField("limit") else UNLIMITED,
            _amount(quota, quota.use) if quota.HasField("use") else "",
            "project" if quota.overridden else DEFAULT,
        )
        for quota in quotas.quotas
    ]
    output.print_table(["QUOTA", "LIMIT", "USE", "FROM"], rows)


def _amount(quota: quota_pb2.Quota, amount: int) -> str:
    return output.size(amount) if quota.kind in _SIZES else str(amount)
