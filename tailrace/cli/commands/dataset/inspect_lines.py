"""``tailrace datasets head``, ``stats`` and ``split``: the content of a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tailrace.cli.options import Json, Server, TokenizerModel, connect
from tailrace.cli.preview import token_totals
from tailrace.cli.show import output
from tailrace.datasets.content import DatasetError, local_file, open_lines
from tailrace.datasets.eval_sets import load_eval_items
from tailrace.datasets.inspection.shared_words import RUN_WORDS, SharedWords
from tailrace.datasets.inspection.stats import QUANTILES, Stats, measure
from tailrace.datasets.inspection.turns import texts_of, turns_of
from tailrace.formats.data.dataset_file import RecordFile, parse_dataset
from tailrace.formats.data.jsonl import decode_line
from tailrace.formats.data.key_spool import KeySpool
from tailrace.formats.data.record import Record, dump_line
from tailrace.formats.data.split import EmptySplitError, Split, split_records

DatasetSource = Annotated[
    str,
    typer.Argument(
        metavar="DATASET", help="`name`, `name@version`, or the path of a JSON Lines file."
    ),
]

MAX_HEAD = 1000
"""Maximum number of lines that ``head`` prints."""

_SHOWN_IDS = 10


def head(
    dataset: DatasetSource,
    count: Annotated[
        int, typer.Option("-n", "--lines", metavar="N", min=1, max=MAX_HEAD, help="Lines to show.")
    ] = 5,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show the first lines of a dataset; JSON is one line per line, as stored."""
    with connect(server) as client, open_lines(client, dataset) as lines:
        first = list(islice(lines, count))
    records = parse_dataset(first)
    if as_json:
        for line in first:
            if line.strip():
                output.print_json_line(decode_line(line))
        return
    out = output.console()
    for record in records:
        _print_record(out, record)


def _print_record(out: Console, record: Record) -> None:
    notes = [f"{name}={value}" for name, value in record.metadata.items()]
    tools = [] if not (names := _tool_names(record)) else [f"tools: {', '.join(names)}"]
    if hasattr(record, "label"):
        notes.insert(0, f"label={str(record.label).lower()}")
    out.print(output.one_line("  ".join([str(record.id), *tools, *notes])), style="bold")
    for turn in turns_of(record):
        speaker = turn.message.role if turn.part in ("", "prompt") else turn.part
        text = "\n".join(texts_of(turn.message))
        _print_text(out, speaker, text)
    expected = getattr(record, "expected_answer", None)
    if expected is not None:
        _print_text(out, "expected answer", expected)


def _print_text(out: Console, speaker: str, text: str) -> None:
    out.print(output.printable(f"  {speaker}: " + text.replace("\n", "\n    ")), soft_wrap=True)


def _tool_names(record: Record) -> list[str]:
    return [tool["function"]["name"] for tool in getattr(record, "tools", ())]


def stats(
    dataset: DatasetSource,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="EVAL_SET",
            help="Eval set, or file of eval items, whose prompts to look for in the dataset.",
        ),
    ] = None,
    model: TokenizerModel = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Count lines, turns, characters and tokens; find repeated lines and eval prompts.

    A line repeats another if both are equal but for case and white space. An eval prompt counts as
    shared if 13 of its words are in the dataset one after the other. Tokens are those of examples
    as the model's chat template renders them.
    """
    with connect(server) as client:
        tokens = token_totals(client, dataset, model) if model else None
        shared = SharedWords(load_eval_items(client, against)) if against else None
        with open_lines(client, dataset) as lines:
            measured = measure(lines, shared)
    document = {
        "dataset": dataset,
        **_stats_document(measured),
        "tokens": tokens,
        "against": _leaks(against, shared) if against and shared else None,
    }
    if as_json:
        output.print_json(document)
    else:
        _print_stats(document)


def _leaks(eval_set: str, shared: SharedWords) -> dict[str, Any]:
    return {
        "eval_set": eval_set,
        "items": shared.item_count,
        "too_short": shared.too_short,
        "shared": shared.ids(),
    }


def _stats_document(measured: Stats) -> dict[str, Any]:
    return {
        "kind": measured.kind.value,
        "lines": measured.lines,
        "turns": dict(measured.turns),
        "characters": measured.characters.total(),
        "lengths": {
            "turns": measured.turns_per_line.quantiles(),
            "characters": measured.characters.quantiles(),
        },
        "duplicates": {
            "lines": measured.duplicates,
            "first": [{"line": line, "earlier": at} for line, at in measured.first_duplicates],
        },
    }


def _print_stats(document: dict[str, Any]) -> None:
    roles = ", ".join(f"{role} {count}" for role, count in document["turns"].items())
    tokens = document["tokens"] or {}
    output.print_fields(
        [
            ("dataset", document["dataset"]),
            ("kind", document["kind"]),
            ("lines", document["lines"]),
            ("turns", f"{sum(document['turns'].values())} ({roles})"),
            ("characters", document["characters"]),
            ("tokens", tokens.get("tokens")),
            ("trained tokens", tokens.get("trained_tokens")),
        ]
    )
    out = output.console()
    out.print()
    lengths = document["lengths"] | ({"tokens": tokens["lengths"]} if tokens else {})
    rows = [(name, *(values[q] for q in QUANTILES)) for name, values in lengths.items()]
    output.print_table(["PER LINE", *map(str.upper, QUANTILES)], rows)
    out.print()
    repeats = document["duplicates"]
    named = [f"line {one['line']} repeats line {one['earlier']}" for one in repeats["first"]]
    text = f"{repeats['lines']} lines repeat an earlier one, case and white space aside"
    out.print(f"{text}{_listed(named, repeats['lines'])}", soft_wrap=True)
    if document["against"] is not None:
        out.print(output.one_line(_leak_text(document["against"])), soft_wrap=True)


def _leak_text(leaks: dict[str, Any]) -> str:
    ids = leaks["shared"]
    short = f" ({leaks['too_short']} are shorter)" if leaks["too_short"] else ""
    return (
        f"{len(ids)} of {leaks['items']} prompts of {leaks['eval_set']} share {RUN_WORDS} words in "
        f"a row with the dataset{short}{_listed(ids, len(ids))}"
    )


def _listed(names: list[str], count: int) -> str:
    """Return the first names after a colon, and the number of the others."""
    first = names[:_SHOWN_IDS]
    rest = count - len(first)
    return f": {', '.join(first)}{f' and {rest} more' if rest else ''}" if first else ""


def split(
    dataset: DatasetSource,
    eval_fraction: Annotated[
        float,
        typer.Option(
            "--eval-fraction", metavar="SHARE", min=0, max=0.9, help="Share of prompts to hold out."
        ),
    ],
    seed: Annotated[
        int,
        typer.Option("--seed", metavar="N", min=0, max=2**31 - 1, help="train.split_seed."),
    ] = 42,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder for train.jsonl and held_out.jsonl; created if missing.",
        ),
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Divide a dataset as a run with this train.eval_fraction does; count or write the parts.

    All lines of a prompt are in the same part. Each written line has the id that it has in a run.
    """
    with connect(server) as client, local_file(client, dataset) as path:
        records = RecordFile(path)
        try:
            parts = split_records(records, eval_fraction, seed)
            counts = _counts(parts)
            files = _write_parts(parts, folder) if folder else {}
        except EmptySplitError as error:
            raise DatasetError(str(error)) from error
        finally:
            records.close()
    if as_json:
        document: dict[str, dict[str, Any]] = {
            name: {"lines": n, "prompts": p} for name, (n, p) in counts.items()
        }
        for name, file in files.items():
            document[name]["file"] = str(file)
        output.print_json(
            {"dataset": dataset, "eval_fraction": eval_fraction, "seed": seed, **document}
        )
        return
    rows = [(name, n, p, *([files[name]] if files else [])) for name, (n, p) in counts.items()]
    output.print_table(["PART", "LINES", "PROMPTS", *(["FILE"] if files else [])], rows)


def _counts(parts: Split) -> dict[str, tuple[int, int]]:
    """Return the numbers of lines and distinct prompts of each part."""
    return {
        "train": (len(parts.train), _prompt_count(parts.train)),
        "held_out": (len(parts.held_out), _prompt_count(parts.held_out)),
    }


def _prompt_count(records: Iterable[Record]) -> int:
    keys = KeySpool()
    try:
        for number, record in enumerate(records):
            keys.add(record.split_key, number)
        return keys.count_distinct()
    finally:
        keys.close()


def _write_parts(parts: Split, folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {"train": folder / "train.jsonl", "held_out": folder / "held_out.jsonl"}
    for file, records in zip(files.values(), (parts.train, parts.held_out), strict=True):
        # An interrupted command leaves an existing file unchanged.
        part = file.with_suffix(".part")
        try:
            with part.open("w", encoding="utf-8", newline="\n") as lines:
                lines.writelines(map(dump_line, records))
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    return files
