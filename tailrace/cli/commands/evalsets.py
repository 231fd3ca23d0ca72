"""``tailrace evalsets``: questions with their answers, for runs to be judged on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.options import Json, Limit, Server, connect
from tailrace.cli.show import output
from tailrace.formats.catalog import EVAL_SETS
from tailrace.formats.data.eval_item import EvalItem, read_eval_items
from tailrace.formats.data.jsonl import dump_record
from tailrace.formats.data.leakage import leaked_ids, prompt_words
from tailrace.formats.data.trace import read_traces
from tailrace.formats.schema import parse, to_mapping
from tailrace.v1 import evalset_pb2

app = typer.Typer(help="Questions with their answers.", no_args_is_help=True)

_SHOWN = 10

File = Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines, one eval item a line.")]


@app.command("validate")
def validate(
    file: File,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", help="Dataset file (JSON Lines) to look for leaked questions in."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a file without a server: wrong lines, repeated questions, leakage.

    Wrong lines end with exit code 2; repeated and leaked questions are only told.
    """
    items = read_eval_items(file)
    repeated = _repeated(items)
    leaked: list[str] | None = None
    if against is not None:
        found = leaked_ids(items, (trace.prompt for trace in read_traces(against)))
        leaked = [item.id for item in items if item.id in found]
    if as_json:
        output.print_json(
            {"items": len(items), "repeated": repeated, "leaked": leaked, **_groups(items)}
        )
        return
    groups = [(name, _listed(counts)) for name, counts in _groups(items).items()]
    output.print_fields([("items", len(items)), *groups])
    for ids in repeated:
        output.console().print(f"asked more than once: {_shown(ids)}")
    if leaked is not None:
        named = f": {_shown(leaked)}" if leaked else ""
        output.console().print(f"{len(leaked)} of {len(items)} leaked into {against}{named}")


@app.command("import")
def import_(
    file: File,
    name: Annotated[str, typer.Option("--name", help="Id of the eval set.")],
    description: Annotated[str, typer.Option("--description", help="What it is.")] = "",
    markers: Annotated[
        list[str] | None,
        typer.Option(
            "--marker",
            help="Text that marks an answer ('Antwort:'), for items that name none; repeatable.",
        ),
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Import eval items, all or nothing; other content becomes the next version."""
    source = _with_markers(read_eval_items(file), markers) if markers else file
    with connect(server) as client:
        made = client.import_eval_set(name, source, description=description)
    if as_json:
        output.print_json(output.plain(made))
        return
    output.print_fields(
        [
            ("eval set", made.name),
            ("description", made.description),
            ("items", made.item_count),
            ("prompts", made.prompt_count),
            ("size", output.size(made.size_bytes)),
            ("sha256", made.sha256),
            ("artifact", made.artifact),
            ("created", output.moment(made.create_time)),
        ]
    )


@app.command("list")
def list_(limit: Limit = None, server: Server = None, as_json: Json = False) -> None:
    """List the newest version of every imported eval set, and those that ship."""
    with connect(server) as client:
        found = list(client.list_eval_sets(limit=limit))
    if as_json:
        output.print_json(
            {"imported": [output.plain(each) for each in found], "built_in": [*EVAL_SETS]}
        )
        return
    rows = [*map(_row, found), *((name, "", "", "", "built in") for name in EVAL_SETS)]
    output.print_table(
        ["EVAL SET", "ITEMS", "SIZE", "CREATED", "DESCRIPTION"], rows, text=("DESCRIPTION",)
    )


def _with_markers(items: list[EvalItem], markers: list[str]) -> bytes:
    """The items as JSON Lines; those without markers get the given ones.

    Raises :class:`tailrace.formats.schema.SpecError` for markers that no item may have.
    """
    marked = [item if item.markers else replace(item, markers=markers) for item in items]
    parse(EvalItem, to_mapping(replace(items[0], markers=markers)))
    return "".join(map(dump_record, marked)).encode()


def _row(each: evalset_pb2.EvalSet) -> tuple[object, ...]:
    name = each.name.removeprefix("evalsets/")
    created = output.moment(each.create_time)
    return (name, each.item_count, output.size(each.size_bytes), created, each.description)


def _repeated(items: list[EvalItem]) -> list[list[str]]:
    """Ids of the items that ask the same, question by question."""
    by_prompt: dict[tuple[str, ...], list[str]] = {}
    for item in items:
        by_prompt.setdefault(prompt_words(item.prompt), []).append(item.id)
    return [ids for ids in by_prompt.values() if len(ids) > 1]


def _groups(items: list[EvalItem]) -> dict[str, dict[str, int]]:
    """How many items each section, category and difficulty has; items without one are left out."""
    found: dict[str, dict[str, int]] = {}
    for plural, field in (
        ("sections", "section"),
        ("categories", "category"),
        ("difficulties", "difficulty"),
    ):
        values = (getattr(item, field) for item in items)
        found[plural] = dict(Counter(value for value in values if value is not None))
    return found


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def _shown(ids: list[str]) -> str:
    rest = len(ids) - _SHOWN
    return output.one_line(", ".join(ids[:_SHOWN]) + (f" and {rest} more" if rest > 0 else ""))
