"""Pages from templates, which share parts and number formats with the HTML report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from tailrace.cli.run_report import facts
from tailrace.cli.show import output, run_view
from tailrace.client.aio import AsyncClient
from tailrace.console.changes import FORM_FIELD, FORM_HEADER
from tailrace.console.visitor import is_logged_in


def client(request: Request) -> AsyncClient:
    """Return the client of the control plane; its calls are made in the visitor's name."""
    plane: AsyncClient = request.app.state.client
    return plane


def is_part(request: Request) -> bool:
    """Return True if htmx asks for a part of a page."""
    return request.headers.get("hx-request") == "true"


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return the page of a template."""
    state = request.app.state
    form_token, secret = state.cookies.form_token(request)
    page = (
        _environment()
        .get_template(template)
        .render(
            request=request,
            place=_place(request.url.path, state.navigation),
            navigation=state.navigation,
            static=state.static.url,
            form_field=FORM_FIELD,
            form_header=FORM_HEADER,
            form_token=form_token,
            is_logged_in=is_logged_in(),
            server=client(request).server,
            version=version("tailrace"),
            **values,
        )
    )
    response = HTMLResponse(page, status)
    if secret:
        state.cookies.keep_form_secret(request, response, secret)
    return response


def _place(path: str, navigation: Sequence[tuple[str, str]]) -> str:
    """Return the entry of the navigation that a page belongs to; empty if there is none."""
    targets = [target for _, target in navigation if f"{path}/".startswith(f"{target}/")]
    return max(targets, key=len, default="")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader(
            [
                PackageLoader("tailrace.console", "templates"),
                PrefixLoader({"report": PackageLoader("tailrace.cli.run_report", "")}),
            ]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    filters: Mapping[str, Any] = {
        "duration": lambda timed: output.duration(timed.start_time, timed.end_time),
        "loss": output.loss,
        "run_id": run_view.run_id,
        "run_state": run_view.run_state,
        "size": output.size,
        "stage_state": run_view.stage_state,
        "utc": facts.utc,
    }
    environment.filters.update(filters)
    return environment


def _printable(value: Any) -> Any:
    return output.printable(value) if type(value) is str else value
