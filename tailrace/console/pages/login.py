"""Login with a token, where the control plane requires one, and logout."""

from __future__ import annotations

import contextlib

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tailrace.access import Access
from tailrace.client.aio import AsyncClient
from tailrace.console.changes import change, text
from tailrace.console.guard import is_local
from tailrace.console.rendering import client, render
from tailrace.console.visitor import is_logged_in
from tailrace.errors import FailedPrecondition, TailraceError, Unauthenticated, Unavailable


async def login(request: Request) -> Response:
    """Show the form."""
    return render(
        request, "login.html", goal=_goal(request.query_params.get("next", "")), problem=""
    )


async def log_in(request: Request, form: FormData) -> Response:
    """Exchange a token for a session, and keep that for this browser."""
    token, goal = text(form, "token").strip(), _goal(text(form, "next"))
    problem = _transport_problem(request) or _form_problem(token)
    if not problem:
        try:
            session = await _session(request, token)
        except Unavailable:
            raise
        except TailraceError as error:
            problem = error.message
    if problem:
        return render(request, "login.html", 403, goal=goal, problem=problem)
    response = RedirectResponse(goal, 303)
    request.app.state.cookies.log_in(request, response, session)
    return response


async def log_out(request: Request, form: FormData) -> Response:
    """End the session of this browser."""
    del form
    response = RedirectResponse("/login", 303)
    request.app.state.cookies.log_out(request, response)
    if is_logged_in():
        # The browser forgets a session that has ended already, too.
        with contextlib.suppress(Unauthenticated, FailedPrecondition):
            await client(request).end_session()
    return response


def _form_problem(token: str) -> str:
    is_token = token and token.isascii() and token.isprintable() and " " not in token
    return "" if is_token else "This is not a token."


async def _session(request: Request, token: str) -> str:
    """Return the secret of a session with the rights of a token.

    Raises:
        TailraceError: The control plane refuses the token, or does not answer.
    """
    plane = client(request)
    access = Access(tls=plane.access.tls, token=lambda: token, insecure=plane.access.insecure)
    async with AsyncClient(plane.server, access=access, retry=plane.retry) as visitor:
        return (await visitor.create_session()).secret


def _transport_problem(request: Request) -> str:
    if request.url.scheme == "https" or is_local(request.url.hostname or ""):
        return ""
    return "A token must not travel in plaintext: open this console with https."


def _goal(path: str) -> str:
    """Return a path of this console to go to after the login."""
    is_path = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_path and path.isprintable() else "/runs"


ROUTES = [Route("/login", login), change("/login", log_in), change("/logout", log_out)]
