"""Run History: the list of runs, with filters, orders and a live first page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tailrace.client import runs
from tailrace.client.aio import AsyncClient
from tailrace.client.call import Paged
from tailrace.console.events import Event, event_response, reconnecting
from tailrace.console.paging import fetch_page
from tailrace.console.rendering import client, is_part, render
from tailrace.console.run_rows import run_row
from tailrace.protomap import enum_word
from tailrace.v1 import run_pb2

PAGE_RUNS = 50
"""Number of runs on a page."""

POLL_SECONDS = 2.0
"""Interval at which the live list looks for changes."""

STATES = [
    enum_word(run_pb2.RunState.DESCRIPTOR, number).upper()
    for number in run_pb2.RunState.values()
    if number
]

ORDERS = {
    "create_time desc": "newest first",
    "create_time": "oldest first",
    "loss": "lowest loss",
    "score desc": "highest score",
    "score": "lowest score",
    "duration desc": "longest",
    "duration": "shortest",
}
"""Orders of the list, as the API spells them, with their labels."""


@dataclass(frozen=True)
class Query:
    """Filters and order of the list, as in its URL."""

    state: str
    label: str
    dataset: str
    model: str
    since: str
    until: str
    order: str

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> Query:
        """Return the query of a URL; unknown orders count as none."""
        order = parameters.get("order", "")
        return cls(
            state=parameters.get("state", "").upper(),
            label=parameters.get("label", "").strip(),
            dataset=parameters.get("dataset", "").strip(),
            model=parameters.get("model", "").strip(),
            since=parameters.get("since", ""),
            until=parameters.get("until", ""),
            order=order if order in ORDERS else "create_time desc",
        )

    @property
    def is_filtered(self) -> bool:
        """True if it selects some of the runs."""
        return any(self._conditions())

    @property
    def filter(self) -> str:
        """Filter of ListRuns."""
        return " AND ".join(self._conditions())

    def url(self, **further: str) -> str:
        """Return the URL of the list, with further parameters."""
        parameters = {**self.__dict__, **further}
        if parameters["order"] == "create_time desc":
            parameters["order"] = ""
        given = {name: value for name, value in parameters.items() if value}
        return "/runs" + (f"?{urlencode(given)}" if given else "")

    def events_url(self) -> str:
        """Return the URL of the list's events."""
        return self.url().replace("/runs", "/runs-events", 1)

    def _conditions(self) -> Iterator[str]:
        if self.state:
            yield f"state = {quoted(self.state)}"
        for label in self.label.split():
            name, _, value = label.partition("=")
            yield f"labels.{name} = {quoted(value)}"
        if self.dataset:
            yield f"dataset = {quoted(self.dataset)}"
        if self.model:
            yield f"model = {quoted(self.model)}"
        if self.since:
            yield f"create_time >= {quoted(self.since)}"
        if self.until:
            yield f"create_time < {quoted(_end_of(self.until))}"


def quoted(text: str) -> str:
    """Return a text as a value of a filter."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


async def home(request: Request) -> Response:
    """Lead to the list of runs."""
    del request
    return RedirectResponse("/runs", 302)


async def history(request: Request) -> Response:
    """Show a page of the list."""
    query = Query.of(request.query_params)
    token = request.query_params.get("page", "")
    page, next_token = await fetch_page(client(request), _call(query), token)
    return render(
        request,
        "history_rows.html" if is_part(request) else "history.html",
        rows=[run_row(run) for run in page],
        query=query,
        states=STATES,
        orders=ORDERS,
        is_first=not token,
        next_url=query.url(page=next_token) if next_token else "",
    )


async def history_events(request: Request) -> Response:
    """Send an event whenever the first page of a list has changed."""
    plane, query = client(request), Query.of(request.query_params)

    def follow() -> AsyncIterator[Event]:
        return _changes(plane, query)

    return event_response(reconnecting(follow, lambda: fetch_page(plane, _call(query))))


async def _changes(plane: AsyncClient, query: Query) -> AsyncGenerator[Event, None]:
    earlier: list[tuple[str, int]] | None = None
    while True:
        page, _ = await fetch_page(plane, _call(query))
        revisions = [(run.name, run.revision) for run in page]
        if earlier is not None and revisions != earlier:
            yield Event("runs")
        earlier = revisions
        await asyncio.sleep(POLL_SECONDS)


def _call(query: Query) -> Paged[run_pb2.ListRunsResponse, run_pb2.Run]:
    return runs.list_runs(filter=query.filter, order_by=query.order, page_size=PAGE_RUNS)


def _end_of(day: str) -> str:
    """Return the start of the next day, so that a day is included as a whole."""
    try:
        return (datetime.fromisoformat(day) + timedelta(days=1)).date().isoformat()
    except ValueError:
        return day


ROUTES = [Route("/", home), Route("/runs", history), Route("/runs-events", history_events)]
