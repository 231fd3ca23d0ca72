"""``tailrace runs compare``: runs beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from google.protobuf import json_format, struct_pb2

from tailrace.cli.options import Json, Server, connect
from tailrace.cli.show import output
from tailrace.cli.show.curves import curve_rows, shared_names
from tailrace.cli.show.run_view import run_id
from tailrace.formats.canonical import canonical_json
from tailrace.formats.json_value import json_value
from tailrace.protomap import enum_word
from tailrace.v1 import evaluation_pb2, run_pb2

SHOWN_ITEMS = 10
"""Won and lost items that are shown per comparison unless all are asked for."""

_ROLE = evaluation_pb2.ModelRole.DESCRIPTOR
_TESTS = {
    evaluation_pb2.PAIRED_TEST_UNSPECIFIED: "test not named",
    evaluation_pb2.PAIRED_TEST_MCNEMAR: "McNemar",
    evaluation_pb2.PAIRED_TEST_PAIRED_BOOTSTRAP: "bootstrap",
}


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN…", help="Runs; the first is compared with.")
    ],
    items: Annotated[
        bool, typer.Option("--items", help="Show every item that was won or lost.")
    ] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Compare runs with the first: specs, final numbers, and verdicts on the items they share."""
    with connect(server) as client:
        found = client.compare_runs(runs)
    if as_json:
        output.print_json(output.plain(found))
    else:
        print_comparison(found, all_items=items)


def print_comparison(found: run_pb2.CompareRunsResponse, *, all_items: bool) -> None:
    """What differs, as tables."""
    names = [output.one_line(run_id(run)) for run in found.runs]
    _title("What differs in the specs")
    specs = [(each.path, *map(_text, each.values)) for each in found.spec_differences]
    _table(["KEY", *names], specs, text=names)
    _title("Final numbers")
    _table(["METRIC", *names], [(m.name, *map(_number, m.values)) for m in found.metrics])
    for name in shared_names(found.curves):
        _title(f"{name} by step")
        _table(["STEP", *names], curve_rows(found.curves, name, [r.name for r in found.runs]))
    _title(f"Verdicts, item by item, against {names[0]}")
    _table(
        ["RUN", "JUDGE, SET, MODEL", "WINS", "LOSSES", "TIES", "DIFFERENCE (95%)", "P"],
        [_verdict_row(each) for each in found.verdicts],
    )
    for each in found.verdicts:
        _print_notes(each, names[0])
        _print_items(each, None if all_items else SHOWN_ITEMS)


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


def _verdict_row(each: run_pb2.VerdictComparison) -> tuple[object, ...]:
    compared = each.comparison
    difference = chance = ""
    if compared.HasField("difference"):
        interval = f"({compared.low:+.3f} to {compared.high:+.3f})"
        difference = f"{compared.difference:+.3f} {interval}"
        chance = f"{compared.p_value:.3g} ({_TESTS.get(compared.test, compared.test)})"
    return (
        each.run.removeprefix("runs/"),
        # One column: a terminal has no room for three that are folded between words.
        f"{compared.judge} {compared.eval_set} {enum_word(_ROLE, each.model_role)}",
        compared.wins,
        compared.losses,
        compared.ties,
        difference,
        chance,
    )


def _print_notes(each: run_pb2.VerdictComparison, first: str) -> None:
    """What a reader of the numbers has to know."""
    where = output.one_line(
        f"{each.run.removeprefix('runs/')}, {each.comparison.judge} {each.comparison.eval_set}"
    )
    out = output.console()
    if each.not_shared or each.not_shared_first:
        out.print(
            f"{where}: {each.shared} items shared; left out: {each.not_shared_first} of {first}, "
            f"{each.not_shared} of this run (not there, or judged with an error)"
        )
    if each.version != each.version_first:
        out.print(
            output.one_line(
                f"{where}: judged by version {each.version}, {first} by {each.version_first}: "
                "these scores do not compare; judge one of them again"
            ),
            style="yellow",
        )


def _print_items(each: run_pb2.VerdictComparison, limit: int | None) -> None:
    shown = each.changes[:limit]
    if not shown:
        return
    run = each.run.removeprefix("runs/")
    what = f"{each.comparison.judge} {each.comparison.eval_set}"
    rows = [
        (
            change.example_id,
            "won" if change.score > change.score_first else "lost",
            f"{change.score_first:.3g} -> {change.score:.3g}",
        )
        for change in shown
    ]
    _title(f"Items of {run}, {what}")
    output.print_table(["ITEM", "", "SCORE"], rows)
    more = len(each.changes) - len(shown) + each.changes_left_out
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
