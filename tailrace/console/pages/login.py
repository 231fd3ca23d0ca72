"""Login with a token, where the control plane requires one, and logout."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tailrace.access import Access
from tailrace.client.aio import AsyncClient
from tailrace.console.changes import change, text
from tailrace.console.guard import is_local
from tailrace.console.rendering import client, render
from tailrace.errors import TailraceError, Unavailable


async def login(request: Request) -> Response:
    """Show the form."""
    return render(
        request, "login.html", goal=_goal(request.query_params.get("next", "")), problem=""
    )


async def log_in(request: Request, form: FormData) -> Response:
    """Check a token with the control plane, and keep it for this browser."""
    token, goal = text(form, "token").strip(), _goal(text(form, "next"))
    problem = _transport_problem(request) or await _token_problem(request, token)
    if problem:
        return render(request, "login.html", 403, goal=goal, problem=problem)
    response = RedirectResponse(goal, 303)
    request.app.state.cookies.log_in(request, response, token)
    return response


async def log_out(request: Request, form: FormData) -> Response:
    """Forget the token of this browser."""
    del form
    response = RedirectResponse("/login", 303)
    request.app.state.cookies.log_out(request, response)
    return response


async def _token_problem(request: Request, token: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        return "This is not a token."
    plane = client(request)
    access = Access(tls=plane.access.tls, token=lambda: token, insecure=plane.access.insecure)
    try:
        async with AsyncClient(plane.server, access=access, retry=plane.retry) as visitor:
            async for _ in visitor.list_runs(page_size=1, limit=1):
                pass
    except Unavailable:
        raise
    except TailraceError as error:
        return error.message
    return ""


def _transport_problem(request: Request) -> str:
    if request.url.scheme == "https" or is_local(request.url.hostname or ""):
        return ""
    return "A token must not travel in plaintext: open this console with https."


def _goal(path: str) -> str:
    """Return a path of this console to go to after the login."""
    is_path = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_path and path.isprintable() else "/runs"


ROUTES = [Route("/login", login), change("/login", log_in), change("/logout", log_out)]
