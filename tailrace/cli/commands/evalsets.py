"""``tailrace evalsets``: prompts with their expected answers, on which runs are judged."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.options import (
    ContentId,
    Description,
    Json,
    Limit,
    Server,
    connect,
    content_id,
    renamed_option,
)
from tailrace.cli.show import output
from tailrace.formats.catalog import EVAL_SETS
from tailrace.formats.data.dataset_file import RecordFile
from tailrace.formats.data.eval_item import EvalItem, dump_item, read_eval_items
from tailrace.formats.data.leakage import leaked_ids, prompt_words
from tailrace.formats.data.split import prompt_texts
from tailrace.formats.schema import parse
from tailrace.v1 import evalset_pb2

app = typer.Typer(help="Prompts with their expected answers.", no_args_is_help=True)

_SHOWN = 10

File = Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines, one eval item per line.")]


@app.command("validate")
def validate(
    file: File,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="Dataset file (JSON Lines) in which to look for leaked prompts.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a file without a server: wrong lines, repeated prompts, leakage.

    Wrong lines end with exit code 2; repeated and leaked prompts are only reported.
    """
    items = read_eval_items(file)
    repeated = _repeated(items)
    leaked: list[str] | None = None
    if against is not None:
        leaks = leaked_ids(items, prompt_texts(RecordFile(against)))
        leaked = [eval_item.id for eval_item in items if eval_item.id in leaks]
    if as_json:
        output.print_json(
            {"items": len(items), "repeated": repeated, "leaked": leaked, **_groups(items)}
        )
        return
    groups = [(name, _listed(counts)) for name, counts in _groups(items).items()]
    output.print_fields([("items", len(items)), *groups])
    for ids in repeated:
        output.console().print(f"same prompt: {_shown(ids)}")
    if leaked is not None:
        named = f": {_shown(leaked)}" if leaked else ""
        output.console().print(f"{len(leaked)} of {len(items)} leaked into {against}{named}")


@app.command("import")
def import_(
    file: File,
    eval_set_id: ContentId = None,
    old_name: Annotated[str | None, renamed_option("--name", "--id")] = None,
    description: Description = "",
    markers: Annotated[
        list[str] | None,
        typer.Option(
            "--marker",
            metavar="TEXT",
            help="Text before an answer ('Antwort:'), for items without markers; repeatable.",
        ),
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Import eval items, all or nothing; changed content becomes the next version."""
    del old_name
    source = _with_markers(read_eval_items(file), markers) if markers else file
    with connect(server) as client:
        eval_set = client.import_eval_set(
            eval_set_id or content_id(file.stem), source, description=description
        )
    if as_json:
        output.print_json(output.plain(eval_set))
        return
    output.print_fields(
        [
            ("eval set", eval_set.name),
            ("description", eval_set.description),
            ("items", eval_set.item_count),
            ("prompts", eval_set.prompt_count),
            ("size", output.size(eval_set.size_bytes)),
            ("sha256", eval_set.sha256),
            ("artifact", eval_set.artifact),
            ("created", output.moment(eval_set.create_time)),
        ]
    )


@app.command("list")
def list_(limit: Limit = None, server: Server = None, as_json: Json = False) -> None:
    """List the newest version of every imported eval set, and the built-in ones."""
    with connect(server) as client:
        imported = list(client.list_eval_sets(limit=limit))
    if as_json:
        output.print_json({"imported": [*map(output.plain, imported)], "built_in": [*EVAL_SETS]})
        return
    rows = [*map(_row, imported), *((name, "", "", "", "built in") for name in EVAL_SETS)]
    output.print_table(
        ["EVAL SET", "ITEMS", "SIZE", "CREATED", "DESCRIPTION"], rows, text=("DESCRIPTION",)
    )


def _with_markers(items: list[EvalItem], markers: list[str]) -> bytes:
    """Return the items as JSON Lines; those that may be marked and name no marker get these.

    Raises:
        SpecError: An item cannot have these markers.
    """
    marked = [
        replace(eval_item, markers=markers)
        if eval_item.marked and not eval_item.markers
        else eval_item
        for eval_item in items
    ]
    parse(EvalItem, json.loads(dump_item(replace(items[0], markers=markers, marked=True))))
    return "".join(map(dump_item, marked)).encode()


def _row(eval_set: evalset_pb2.EvalSet) -> tuple[object, ...]:
    name = eval_set.name.removeprefix("evalsets/")
    size, created = output.size(eval_set.size_bytes), output.moment(eval_set.create_time)
    return (name, eval_set.item_count, size, created, eval_set.description)


def _repeated(items: list[EvalItem]) -> list[list[str]]:
    """Return the ids of the items that share a prompt, prompt by prompt."""
    by_prompt: dict[tuple[str, ...], list[str]] = {}
    for eval_item in items:
        by_prompt.setdefault(prompt_words(eval_item.shown_prompt), []).append(eval_item.id)
    return [ids for ids in by_prompt.values() if len(ids) > 1]


def _groups(items: list[EvalItem]) -> dict[str, dict[str, int]]:
    """Count the items of each section, category and difficulty; unset ones are left out."""
    groups: dict[str, dict[str, int]] = {}
    for plural, field in (
        ("sections", "section"),
        ("categories", "category"),
        ("difficulties", "difficulty"),
    ):
        values = (getattr(eval_item, field) for eval_item in items)
        groups[plural] = dict(Counter(value for value in values if value is not None))
    return groups


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def _shown(ids: list[str]) -> str:
    rest = len(ids) - _SHOWN
    return output.one_line(", ".join(ids[:_SHOWN]) + (f" and {rest} more" if rest > 0 else ""))
