"""Error pages: a failed call of the control plane, a page that is missing, a fault."""

from __future__ import annotations

import logging
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tailrace import errors
from tailrace.console.guard import HEADERS
from tailrace.console.rendering import is_part, render

_log = logging.getLogger(__name__)

_STATUS: dict[type[errors.TailraceError], int] = {
    errors.InvalidArgument: 400,
    errors.OutOfRange: 400,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.AlreadyExists: 409,
    errors.FailedPrecondition: 409,
    errors.Aborted: 409,
    errors.ResourceExhausted: 429,
    errors.Unimplemented: 501,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
}

_TITLES = {
    400: "This request is not valid",
    403: "This is not allowed",
    404: "There is no such page",
    405: "This page cannot do that",
    409: "This is not possible now",
    413: "This is too large",
    429: "A limit is reached",
    501: "The control plane is older than this console",
    503: "The control plane does not answer",
    504: "The control plane did not answer in time",
}
_FAULT = "Something went wrong"

_AWAY = 503
_REFRESH_SECONDS = "5"


async def failed_call(request: Request, error: Exception) -> Response:
    """Return the page of a call that failed; a visitor without valid credentials logs in."""
    if isinstance(error, errors.Unauthenticated):
        return _login(request)
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    violations = getattr(error, "violations", ())
    message = getattr(error, "message", str(error))
    return _page(request, status, message, [v for v in violations if v.description not in message])


async def refused(request: Request, error: Exception) -> Response:
    """Return the page of a request that the console itself refuses."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    return _page(request, status, detail if detail != _DEFAULT_DETAILS.get(status) else "", ())


async def fault(request: Request, error: Exception) -> Response:
    """Return the page of a fault of the console, whose log has the details."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    page = _page(request, 500, "The console's log has the details.", ())
    # Starlette sends this response around the middleware that adds them.
    page.headers.update(HEADERS)
    return page


_DEFAULT_DETAILS = {404: "Not Found", 405: "Method Not Allowed"}


def _page(request: Request, status: int, message: str, violations: object) -> Response:
    title = _TITLES.get(status, _FAULT)
    template = "error_part.html" if is_part(request) else "error.html"
    page = render(request, template, status, title=title, message=message, violations=violations)
    if status == _AWAY and request.method == "GET":
        # The page loads itself until the control plane is back, without a script.
        page.headers["Refresh"] = _REFRESH_SECONDS
    return page


def _login(request: Request) -> Response:
    """Send the browser to the login, and back to this page afterwards."""
    page = request.url
    if is_part(request) and (current := request.headers.get("hx-current-url")):
        page = page.__class__(current)
    goal = page.path + (f"?{page.query}" if page.query else "")
    url = "/login" if request.method != "GET" else f"/login?next={quote(goal, safe='')}"
    if is_part(request):
        return Response(status_code=204, headers={"HX-Redirect": url})
    return RedirectResponse(url, 303)
