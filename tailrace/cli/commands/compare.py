"""``tailrace runs compare``: differences between runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import typer
from google.protobuf import json_format, struct_pb2

from tailrace.cli.options import Json, Server, connect
from tailrace.cli.show import output
from tailrace.cli.show.curves import curve_rows, shared_names
from tailrace.cli.show.run_view import run_id, run_state, scores
from tailrace.client.runs import TERMINAL_STATES
from tailrace.formats.canonical import canonical_json
from tailrace.formats.json_value import json_value
from tailrace.protomap import enum_word
from tailrace.v1 import evaluation_pb2, run_pb2

SHOWN_ITEMS = 10
"""Maximum of won and lost items per comparison, unless ``--items`` is given."""

_ROLE = evaluation_pb2.ModelRole.DESCRIPTOR
_TESTS = {
    evaluation_pb2.PAIRED_TEST_UNSPECIFIED: "test not named",
    evaluation_pb2.PAIRED_TEST_MCNEMAR: "McNemar",
    evaluation_pb2.PAIRED_TEST_PAIRED_BOOTSTRAP: "bootstrap",
}


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN", help="Two or more runs; the others are compared with the first."
        ),
    ],
    items: Annotated[
        bool, typer.Option("--items", help="Show every item that was won or lost.")
    ] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Compare runs with the first: specs, final numbers, and verdicts on the items they share."""
    with connect(server) as client:
        comparison = client.compare_runs(runs)
    if as_json:
        output.print_json(output.plain(comparison))
    else:
        print_comparison(comparison, all_items=items)


def print_comparison(comparison: run_pb2.CompareRunsResponse, *, all_items: bool) -> None:
    """Print the differences as tables."""
    names = [output.one_line(run_id(run)) for run in comparison.runs]
    _title("Differences of the specs")
    specs = [(key.path, *map(_text, key.values)) for key in comparison.spec_differences]
    _table(["KEY", *names], specs, text=names)
    _title("Final numbers")
    _table(["METRIC", *names], [(m.name, *map(_number, m.values)) for m in comparison.metrics])
    for name in shared_names(comparison.curves):
        _title(f"{name} by step")
        runs = [run.name for run in comparison.runs]
        _table(["STEP", *names], curve_rows(comparison.curves, name, runs))
    _title(f"Verdicts, item by item, against {names[0]}")
    if comparison.verdicts:
        _table(
            ["RUN", "JUDGE, SET, MODEL", "WINS", "LOSSES", "TIES", "DIFFERENCE (95%)", "P"],
            [_verdict_row(verdicts) for verdicts in comparison.verdicts],
        )
    for reason in _missing_verdicts(comparison):
        output.console().print(output.one_line(reason), soft_wrap=True)
    for verdicts in comparison.verdicts:
        _print_notes(verdicts, names[0])
        _print_items(verdicts, None if all_items else SHOWN_ITEMS)


def _missing_verdicts(comparison: run_pb2.CompareRunsResponse) -> Iterator[str]:
    """Yield why runs have no comparison of verdicts, and the way out."""
    judged_runs = []
    for run in comparison.runs:
        name = run_id(run)
        if scores(run):
            judged_runs.append(name)
        elif run.state in TERMINAL_STATES:
            yield f"{name} has no verdicts; judge it: tailrace runs judge {name} --judge JUDGE"
        else:
            yield (
                f"{name} is {run_state(run)} and has no verdicts yet; wait for them: "
                f"tailrace runs watch {name}"
            )
    first = run_id(comparison.runs[0])
    if first not in judged_runs:
        return
    compared = {verdicts.run.removeprefix("runs/") for verdicts in comparison.verdicts}
    for name in judged_runs[1:]:
        if name not in compared:
            yield (
                f"{name} and {first} share no judge, eval set and model; judge both alike: "
                "tailrace runs judge RUN --judge JUDGE"
            )


def _title(title: str) -> None:
    output.console().print(f"\n{output.one_line(title)}", style="bold")


def _table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, text: Sequence[str] = ()
) -> None:
    filled = list(rows)
    if filled:
        output.print_table(columns, filled, text=text)
    else:
        output.console().print("nothing")


def _verdict_row(verdicts: run_pb2.VerdictComparison) -> tuple[object, ...]:
    counts = verdicts.comparison
    difference = p_value = ""
    if counts.HasField("difference"):
        interval = f"({counts.low:+.3f} to {counts.high:+.3f})"
        difference = f"{counts.difference:+.3f} {interval}"
        p_value = f"{counts.p_value:.3g} ({_TESTS.get(counts.test, counts.test)})"
    return (
        verdicts.run.removeprefix("runs/"),
        # One column: a terminal has no room for three that are folded between words.
        f"{counts.judge} {counts.eval_set} {enum_word(_ROLE, verdicts.model_role)}",
        counts.wins,
        counts.losses,
        counts.ties,
        difference,
        p_value,
    )


def _print_notes(verdicts: run_pb2.VerdictComparison, first: str) -> None:
    """Print the reservations about a comparison: items left out, other versions of the judge."""
    counts = verdicts.comparison
    where = output.one_line(
        f"{verdicts.run.removeprefix('runs/')}, {counts.judge} {counts.eval_set}"
    )
    out = output.console()
    if verdicts.not_shared or verdicts.not_shared_first:
        out.print(
            f"{where}: {verdicts.shared} items shared; left out: {verdicts.not_shared_first} of "
            f"{first}, {verdicts.not_shared} of this run (missing, or judged with an error)"
        )
    if verdicts.version != verdicts.version_first:
        out.print(
            output.one_line(
                f"{where}: judged by version {verdicts.version}, {first} by "
                f"{verdicts.version_first}: these scores do not compare; judge one of them again"
            ),
            style="yellow",
        )


def _print_items(verdicts: run_pb2.VerdictComparison, limit: int | None) -> None:
    changes = verdicts.changes[:limit]
    if not changes:
        return
    run = verdicts.run.removeprefix("runs/")
    subject = f"{verdicts.comparison.judge} {verdicts.comparison.eval_set}"
    rows = [
        (
            change.example_id,
            "won" if change.score > change.score_first else "lost",
            f"{change.score_first:.3g} -> {change.score:.3g}",
        )
        for change in changes
    ]
    _title(f"Items of {run}, {subject}")
    output.print_table(["ITEM", "", "SCORE"], rows)
    more = len(verdicts.changes) - len(changes) + verdicts.changes_left_out
    if more:
        output.console().print(f"and {more} more")


def _plain(value: struct_pb2.Value) -> Any:
    return json_value(json_format.MessageToDict(value))


def _text(value: struct_pb2.Value) -> str:
    plain = _plain(value)
    if plain is None:
        return "-"
    return plain if isinstance(plain, str) else canonical_json(plain)


def _number(value: struct_pb2.Value) -> object:
    plain = _plain(value)
    return "-" if plain is None else plain
