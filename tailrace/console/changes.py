"""Changes: handlers of forms, which run only if a page of this console sent the form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FORM_FIELD = "form_token"
"""Name of the hidden field with the token against forged requests."""

FORM_HEADER = "X-Form-Token"
"""Header with the same token, in requests of scripts."""

_MAX_FIELDS = 1000
_MAX_PART_BYTES = 8 * 1024 * 1024

Handler = Callable[[Request, FormData], Awaitable[Response]]


def change(path: str, handler: Handler) -> Route:
    """Return the route of a change: it checks the token of the form and passes the form.

    A request with the token in its header may have any body, which the handler reads from the
    request; the form is empty then unless the body is one.
    """

    async def endpoint(request: Request) -> Response:
        cookies = request.app.state.cookies
        token = request.headers.get(FORM_HEADER, "")
        if token and not cookies.is_form_token(request, token):
            raise stale_form()
        form = FormData()
        if _has_form(request):
            form = await request.form(max_fields=_MAX_FIELDS, max_part_size=_MAX_PART_BYTES)
        if not token and not cookies.is_form_token(request, str(form.get(FORM_FIELD, ""))):
            raise stale_form()
        try:
            return await handler(request, form)
        finally:
            await form.close()

    return Route(path, endpoint, methods=["POST"], name=getattr(handler, "__name__", path))


def text(form: FormData, name: str) -> str:
    """Return a field of a form; empty if it is missing or a file."""
    value: Any = form.get(name)
    return value if isinstance(value, str) else ""


def _has_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in ("application/x-www-form-urlencoded", "multipart/form-data")


def stale_form() -> HTTPException:
    """Return the refusal of a form that no page of this console sent."""
    return HTTPException(403, "This form is out of date. Load its page again, and send it again.")
