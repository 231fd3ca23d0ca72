"""``tailrace audit``: the audit log, for administrators."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

import typer

from tailrace.cli import exit_codes
from tailrace.cli.errors import CommandError
from tailrace.cli.options import Json, Limit, Server, connect
from tailrace.cli.show import output
from tailrace.client.blocking import Client
from tailrace.formats.data.audit_chain import FIELDS, ChainError, Place, audit_time, check_chain
from tailrace.v1 import audit_pb2

app = typer.Typer(help="The audit log: list, verify and export its events.", no_args_is_help=True)

FORMAT = "tailrace-audit-1"
"""Format of an exported file: its first line has it, and both ends of the chain."""

_MAX_LINE = 1 << 20
_TRIES = 3
_PAGE = 1000


def _option(name: str, help: str) -> Any:
    return typer.Option(name, metavar=name.removeprefix("--").upper(), help=help)


@app.command("list")
def list_(
    actor: Annotated[str, _option("--actor", "Only this caller, such as token:ID.")] = "",
    method: Annotated[
        str, _option("--method", "Only this method, such as RunService/CancelRun.")
    ] = "",
    resource: Annotated[str, _option("--resource", "Only this resource, such as runs/r1.")] = "",
    outcome: Annotated[
        str, _option("--outcome", "Only this outcome, such as SUCCEEDED or PERMISSION_DENIED.")
    ] = "",
    since: Annotated[str, _option("--since", "Only from this time on, such as 2026-01-31.")] = "",
    until: Annotated[str, _option("--until", "Only before this time.")] = "",
    limit: Limit = 50,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List changes and refused calls, newest first."""
    fields = {"actor": actor, "method": method, "resource": resource, "outcome": outcome}
    conditions = [f"{name} = {json.dumps(value)}" for name, value in fields.items() if value]
    conditions += [f"time >= {json.dumps(since)}"] if since else []
    conditions += [f"time < {json.dumps(until)}"] if until else []
    with connect(server) as client:
        events = list(client.list_audit_events(filter=" AND ".join(conditions), limit=limit))
    if as_json:
        output.print_messages(events)
        return
    rows = [
        (
            output.moment(event.time),
            event.actor,
            event.method,
            event.resource,
            event.peer,
            event.reason or event.outcome,
            f"+{event.suppressed}" if event.suppressed else "",
        )
        for event in events
    ]
    columns = ["TIME", "ACTOR", "METHOD", "RESOURCE", "FROM", "OUTCOME", "MORE"]
    output.print_table(columns, rows)


@app.command("verify")
def verify(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Exported file (default: the log of the server)."),
    ] = None,
    known: Annotated[
        list[str] | None,
        typer.Option(
            "--known",
            metavar="SEQUENCE:HASH",
            help="Head that an earlier verification printed: the log must still contain it.",
        ),
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Recompute the hash chain and name the first event that is not as it was recorded.

    Exits with 8 if the chain is broken.
    """
    places = [_place(text) for text in known or ()]
    problem, head = "", Place()
    try:
        head = _verify_server(server, places) if file is None else _verify_file(file, places)
    except ChainError as error:
        problem = str(error)
    if as_json:
        place = f"{head.sequence}:{head.hash}"
        output.print_json({"verified": not problem, "problem": problem, "head": place})
    elif problem:
        output.print_fields([("verified", "NO"), ("problem", problem)])
    else:
        output.print_fields([("verified", "yes"), ("head", f"{head.sequence}:{head.hash}")])
    if problem:
        raise typer.Exit(exit_codes.DIFFERS)


@app.command("export")
def export(
    file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="JSON Lines file to write.")
    ],
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Write all chained events with their hashes, for `tailrace audit verify FILE` anywhere."""
    with connect(server) as client:
        chain = client.get_audit_chain()
        ends = {"anchor": _record_of_place(chain.anchor), "head": _record_of_place(chain.head)}
        count = 0
        with file.open("w", encoding="utf-8") as target:
            target.write(json.dumps({"format": FORMAT, **ends}) + "\n")
            for record in _records(client, chain):
                target.write(json.dumps(record, ensure_ascii=False) + "\n")
                count += 1
    if as_json:
        output.print_json({"file": str(file), "events": count})
    else:
        output.print_fields([("file", str(file)), ("events", count)])


def _verify_server(server: str | None, expected: list[Place]) -> Place:
    """Verify the log of a control plane and return its head.

    Raises:
        ChainError: The chain is broken.
    """
    with connect(server) as client:
        for tries_left in reversed(range(_TRIES)):
            chain = client.get_audit_chain()
            places = [_place_of(chain.head), *expected]
            try:
                return check_chain(_place_of(chain.anchor), _records(client, chain), places)
            except ChainError:
                # Old events may have been deleted since, and the anchor moved with them.
                if not tries_left or client.get_audit_chain().anchor == chain.anchor:
                    raise
    raise AssertionError


def _verify_file(file: Path, expected: list[Place]) -> Place:
    """Verify an exported file and return its head.

    Raises:
        ChainError: The chain is broken.
        CommandError: The file is not an export.
        OSError: The file cannot be read.
    """
    lines = _lines(file)
    ends = next(lines, {})
    try:
        anchor, head = (Place(**ends[end]) for end in ("anchor", "head"))
    except (KeyError, TypeError) as error:
        raise CommandError(f"{file} is not a file of `tailrace audit export`") from error
    return check_chain(anchor, lines, [head, *expected])


def _lines(file: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a JSON Lines file, with bounded memory."""
    with file.open("rb") as source:
        number = 0
        while line := source.readline(_MAX_LINE):
            number += 1
            try:
                record = json.loads(line)
            except ValueError as error:
                raise CommandError(f"{file}: line {number} is not JSON") from error
            if not isinstance(record, dict) or (number > 1 and not _is_event(record)):
                raise CommandError(f"{file}: line {number} is not an event of the audit log")
            yield record


def _is_event(record: Mapping[str, Any]) -> bool:
    return record.keys() >= {*FIELDS, "hash"} and type(record["sequence"]) is int


def _records(client: Client, chain: audit_pb2.AuditChain) -> Iterator[dict[str, Any]]:
    """Yield the chained events as plain data."""
    for event in client.list_audit_events(order_by="sequence", page_size=_PAGE):
        yield _record(event)


def _record(event: audit_pb2.AuditEvent) -> dict[str, Any]:
    """Return an event as the data that its hash covers, and the hash."""
    fields = {name: getattr(event, name) for name in (*FIELDS, "hash")}
    return fields | {"time": audit_time(event.time.ToDatetime(UTC))}


def _place_of(place: audit_pb2.AuditPlace) -> Place:
    return Place(place.sequence, place.hash)


def _record_of_place(place: audit_pb2.AuditPlace) -> dict[str, Any]:
    return {"sequence": place.sequence, "hash": place.hash}


def _place(text: str) -> Place:
    match = re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text)
    if match is None:
        raise CommandError(f"--known {text[:100]!r} must be SEQUENCE:HASH, as `verify` prints it")
    return Place(int(match[1]), match[2])
