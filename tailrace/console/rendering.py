"""Pages from templates, which share parts and number formats with the HTML report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        "dataset_text": lambda run: facts.spec_of(run).dataset,
        "loss": output.loss,
        "model_text": run_view.model_text,
        "run_id": run_view.run_id,
        "run_state": run_view.run_state,
        "size": output.size,
        "spec_text": facts.spec_text,
        "stage_state": run_view.stage_state,
        "tool_parts": tool_parts,
        "utc": facts.utc,
    }
    environment.filters.update(filters)
    return environment


@dataclass(frozen=True)
class TextPart:
    """Part of an answer: a tool call, or the text between calls."""

    is_call: bool
    text: str


def tool_parts(answer: str) -> list[TextPart]:
    """Return the parts of an answer, so that a page can fold its tool calls."""
    return [
        TextPart(part.startswith("<tool_call>"), part)
        for part in _TOOL_CALL.split(answer)
        if part.strip()
    ]


_TOOL_CALL = re.compile(r"(<tool_call>.*?</tool_call>)", re.DOTALL)


def _printable(value: Any) -> Any:
    return output.printable(value) if type(value) is str else value
