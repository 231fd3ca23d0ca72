"""Run History: the list of runs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tailrace.console.rendering import client, render


async def home(request: Request) -> Response:
    """Lead to the list of runs."""
    del request
    return RedirectResponse("/runs", 302)


async def history(request: Request) -> Response:
    """Show the newest runs."""
    runs = [run async for run in client(request).list_runs(page_size=50, limit=50)]
    return render(request, "history.html", runs=runs)


ROUTES = [Route("/", home), Route("/runs", history)]
