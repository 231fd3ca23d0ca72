"""Predictions of a run with their verdicts, alone or next to those of another model or run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tailrace.cli.run_report.examples import ORDER, Example, counts, examples_of
from tailrace.client.aio import AsyncClient
from tailrace.console.pages.run import run_values
from tailrace.console.rendering import client, render
from tailrace.protomap import enum_word
from tailrace.v1 import evaluation_pb2

MOST_READ = 5000
"""Maximum number of predictions of a run that are read."""

PAGE_ROWS = 25

_ROLE = evaluation_pb2.ModelRole.DESCRIPTOR
_PAGE_SIZE = 1000

SORTS = {
    "outcome": "failures first",
    "item": "by item",
    "score": "lowest score",
    "length": "longest",
}

CHANGES = ("won", "lost", "same")
"""Outcomes of a comparison, from the point of view of this run."""


@dataclass(frozen=True)
class Pair:
    """Example, and that of the other model or run for the same item."""

    example: Example
    other: Example | None
    change: str
    """One of :data:`CHANGES`; empty without a comparison."""


@dataclass(frozen=True)
class Selection:
    """Filters, order and place of the table, as in its URL."""

    eval_set: str
    judge: str
    role: str
    outcome: str
    change: str
    text: str
    sort: str
    against: str
    """``base``, or the id of another run; empty for no comparison."""
    page: int

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Selection:
        """Return the selection of a URL."""
        page = query.get("page", "")
        return cls(
            **{
                name: query.get(name, "")
                for name in ("eval_set", "judge", "role", "outcome", "change", "text", "against")
            },
            sort=query.get("sort", "") if query.get("sort", "") in SORTS else "outcome",
            page=int(page) if page.isdecimal() and len(page) < 9 else 0,
        )

    def takes(self, pair: Pair) -> bool:
        """Return True if a pair belongs to the table."""
        example = pair.example
        conditions = (
            (self.eval_set, example.prediction.eval_set),
            (self.role, example.model),
            (self.judge, example.verdict.judge),
            (self.outcome, example.outcome),
            (self.change, pair.change),
        )
        return all(not want or want == value for want, value in conditions) and (
            not self.text or self.text.lower() in _searched(example)
        )

    def key(self, pair: Pair) -> tuple[Any, ...]:
        """Return the position of a pair in the order."""
        example = pair.example
        place = (
            example.prediction.eval_set,
            example.prediction.example_id,
            example.model,
            example.prediction.sample,
        )
        match self.sort:
            case "item":
                return place
            case "score":
                has_score = example.verdict.HasField("score")
                return (example.verdict.score if has_score else 2.0, *place)
            case "length":
                return (-example.prediction.completion_tokens, *place)
        return (example.rank, *place)


async def predictions(request: Request) -> Response:
    """Show a page of the table."""
    values = await run_values(request)
    plane, run = client(request), values["run"]
    selection = Selection.of(request.query_params)
    own, is_whole = await _examples(plane, run.name)
    other_examples: Sequence[Example] = ()
    if selection.against == "base":
        other_examples = [example for example in own if example.model == "base"]
        own = [example for example in own if example.model != "base"]
    elif selection.against:
        other_examples, is_other_whole = await _examples(plane, f"runs/{selection.against}")
        is_whole = is_whole and is_other_whole
    pairs = (
        _paired(own, other_examples) if selection.against else [Pair(one, None, "") for one in own]
    )
    table = sorted(filter(selection.takes, pairs), key=selection.key)
    first = selection.page * PAGE_ROWS
    return render(
        request,
        "run_predictions.html",
        **values,
        selection=selection,
        rows=table[first : first + PAGE_ROWS],
        total=len(table),
        first=first,
        has_more=first + PAGE_ROWS < len(table),
        counts=counts(pair.example for pair in pairs),
        is_whole=is_whole,
        most_read=MOST_READ,
        choices=_choices(own),
        sorts=SORTS,
        outcomes=ORDER,
        changes=CHANGES if selection.against else (),
        page_url=lambda page: str(request.url.include_query_params(page=page)),
    )


async def _examples(plane: AsyncClient, run: str) -> tuple[list[Example], bool]:
    """Return the examples of a run, and False if it has more than are read."""
    read = plane.list_predictions(run, page_size=_PAGE_SIZE, limit=MOST_READ + 1)
    own = [prediction async for prediction in read]
    verdicts = [verdict async for verdict in plane.list_verdicts(run, page_size=_PAGE_SIZE)]
    return examples_of(own[:MOST_READ], verdicts), len(own) <= MOST_READ


def _paired(own: Sequence[Example], other_examples: Sequence[Example]) -> list[Pair]:
    by_item = {_item(example): example for example in other_examples}
    pairs = []
    for example in own:
        other = by_item.get(_item(example))
        pairs.append(Pair(example, other, _change(example, other)))
    return pairs


def _item(example: Example) -> tuple[Any, ...]:
    one = example.prediction
    return one.eval_set, one.example_id, one.sample, example.verdict.judge


def _change(example: Example, other: Example | None) -> str:
    if other is None or not example.verdict.HasField("score"):
        return ""
    if not other.verdict.HasField("score"):
        return ""
    difference = example.verdict.score - other.verdict.score
    return "same" if difference == 0 else "won" if difference > 0 else "lost"


def _searched(example: Example) -> str:
    one = example.prediction
    parts = (one.example_id, one.prompt, one.text, one.reasoning, example.verdict.expected)
    return "\n".join((*parts, example.verdict.reason)).lower()


def _choices(own: Sequence[Example]) -> dict[str, list[str]]:
    """Return the values to choose from, by filter."""
    return {
        "eval_set": sorted({example.prediction.eval_set for example in own}),
        "judge": sorted({example.verdict.judge for example in own if example.verdict.judge}),
        "role": sorted({enum_word(_ROLE, example.prediction.model_role) for example in own}),
    }


ROUTES = [Route("/runs/{run}/predictions", predictions)]
