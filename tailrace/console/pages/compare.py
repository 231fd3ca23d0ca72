"""Comparison of selected runs with the first of them."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format, struct_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tailrace.cli.run_report.scores import difference
from tailrace.cli.show import output
from tailrace.console.rendering import client, render
from tailrace.formats.canonical import canonical_json
from tailrace.protomap import enum_word
from tailrace.v1 import evaluation_pb2

_MOST_ITEMS = 50
"""Maximum number of won and lost items that are shown per comparison."""


async def compare(request: Request) -> Response:
    """Show specs, final figures and verdicts of runs next to each other."""
    names = list(dict.fromkeys(name for name in request.query_params.getlist("run") if name))
    if len(names) < 2:
        return render(request, "compare.html", runs=[], names=names)
    comparison = await client(request).compare_runs(names)
    return render(
        request,
        "compare.html",
        names=names,
        runs=comparison.runs,
        specs=[(key.path, [_value(v) for v in key.values]) for key in comparison.spec_differences],
        metrics=[
            (metric.name, [_value(v) for v in metric.values]) for metric in comparison.metrics
        ],
        verdicts=[
            {
                "run": verdicts.run.removeprefix("runs/"),
                "role": enum_word(evaluation_pb2.ModelRole.DESCRIPTOR, verdicts.model_role),
                "difference": difference(verdicts.comparison),
                "verdicts": verdicts,
                "changes": verdicts.changes[:_MOST_ITEMS],
            }
            for verdicts in comparison.verdicts
        ],
    )


def _value(value: struct_pb2.Value) -> str:
    """Return a value as text; numbers as everywhere else."""
    plain: Any = json_format.MessageToDict(value)
    if plain is None:
        return ""
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, float):
        return output.cell(plain) if plain != int(plain) else f"{int(plain):,}"
    return plain if isinstance(plain, str) else canonical_json(plain)


ROUTES = [Route("/compare", compare)]
