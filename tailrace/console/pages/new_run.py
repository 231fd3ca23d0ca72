"""New run: a form or YAML, checked by the control plane before a run is created.

Every button sends the whole draft, and the answer shows it again: the page keeps nothing between
requests, and needs no JavaScript.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tailrace.client.call import new_request_id
from tailrace.console.changes import change, text
from tailrace.console.new_run import draft as drafts
from tailrace.console.new_run.check import Outcome, check
from tailrace.console.new_run.draft import Draft
from tailrace.console.new_run.names import BUILT_IN, suggestions
from tailrace.console.new_run.presets import presets
from tailrace.console.new_run.view import FormView
from tailrace.console.rendering import client, render
from tailrace.errors import DeadlineExceeded, Unavailable
from tailrace.formats.schema import SpecError, Violation, from_mapping
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.formats.spec.schema_keys import set_values
from tailrace.protomap import to_mapping
from tailrace.spec_file import MAX_BYTES, parse_yaml
from tailrace.yaml_dumper import dump

_BAD_REQUEST = 400


@dataclass(frozen=True)
class Page:
    """State of the page, all of which its form sends back."""

    draft: Draft
    """Fields of the form."""
    yaml: str = ""
    """Text of the YAML view."""
    is_yaml: bool = False
    """True for the YAML view, False for the form."""
    run_id: str = ""
    """Requested id of the run; empty for a generated one."""
    request_id: str = dataclasses.field(default_factory=new_request_id)
    """Id that makes a second press of the button find the run of the first."""
    source: str = ""
    """Preset or run that the draft began with."""


async def new_run(request: Request) -> Response:
    """Show the form for a new run, of a preset, or with the settings of another run."""
    query = request.query_params
    plain: dict[str, Any] = {"model": {}, "train": {}, "infer": {}}
    if model := query.get("model"):
        plain["model"] = {"source": model}
    if dataset := query.get("dataset"):
        plain["dataset"] = dataset
    source = ""
    if run := query.get("from"):
        message = await client(request).get_run(run)
        plain = set_values(from_mapping(RunSpec, to_mapping(message.spec)))
        source = message.name
    elif name := query.get("preset"):
        if name not in presets():
            raise HTTPException(404)
        plain, source = parse_yaml(presets()[name].text), name
    page = Page(drafts.from_plain(plain), source=source)
    if query.get("view") == "yaml":
        page = dataclasses.replace(page, yaml=dump(plain) if plain else "", is_yaml=True)
    return await _show(request, page, Outcome())


async def edit(request: Request, form: FormData) -> Response:
    """Handle a button of the page."""
    page, violations = _read(form)
    action, _, path = text(form, "action").partition(":")
    if violations:
        return await _show(request, page, Outcome(violations), _BAD_REQUEST)
    if action in ("add", "remove"):
        edit_blocks = drafts.add_block if action == "add" else drafts.remove_block
        try:
            edit_blocks(page.draft, path)
        except (KeyError, IndexError) as error:
            raise HTTPException(_BAD_REQUEST, f"there is no block {path[:100]!r}") from error
        return await _show(request, page, Outcome())
    if action in ("form", "yaml"):
        return await _show(request, *_turned(page, to_yaml=action == "yaml"))
    return await _checked(request, page, create=action == "create")


async def _checked(request: Request, page: Page, *, create: bool) -> Response:
    try:
        outcome = await check(
            client(request), page.draft, page.run_id, page.request_id, create=create
        )
    except (Unavailable, DeadlineExceeded) as error:
        # An error page would lose the draft.
        outcome = Outcome(message=error.message)
        return await _show(request, page, outcome, 503, with_names=False)
    if outcome.run is None:
        return await _show(request, page, outcome, _BAD_REQUEST)
    if create:
        return RedirectResponse(f"/{outcome.run.name}", 303)
    return await _show(request, page, outcome)


def _read(form: FormData) -> tuple[Page, list[Violation]]:
    """Return the page that a form describes, and what keeps its YAML from being a draft."""
    page = Page(
        draft={},
        yaml=text(form, "yaml").replace("\r\n", "\n"),
        is_yaml=text(form, "view") == "yaml",
        run_id=text(form, "run_id").strip(),
        request_id=text(form, "request_id")[:128] or new_request_id(),
        source=text(form, "source")[:200],
    )
    if not page.is_yaml:
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        return dataclasses.replace(page, draft=drafts.from_fields(fields)), []
    try:
        if len(page.yaml) > MAX_BYTES:
            raise ValueError(f"is larger than {MAX_BYTES:,} bytes")
        plain = parse_yaml(page.yaml)
        draft = drafts.from_plain({} if plain is None else plain)
    except SpecError as error:
        return page, error.violations
    except ValueError as error:
        return page, [Violation("The text", str(error))]
    return dataclasses.replace(page, draft=draft), []


def _turned(page: Page, *, to_yaml: bool) -> tuple[Page, Outcome]:
    """Return the page in its other view, unless a field holds no value that YAML could have."""
    plain, violations = drafts.to_plain(page.draft)
    if violations:
        return page, Outcome(violations)
    written = dump(plain) if plain else ""
    return dataclasses.replace(page, yaml=written, is_yaml=to_yaml), Outcome()


async def _show(
    request: Request,
    page: Page,
    outcome: Outcome,
    status: int = 200,
    *,
    with_names: bool = True,
) -> Response:
    names = await suggestions(client(request)) if with_names else BUILT_IN
    form = FormView(page.draft, outcome.violations, names)
    return render(
        request,
        "new_run.html",
        status,
        page=page,
        form=form,
        outcome=outcome,
        presets=presets().values(),
        has_training="train" in page.draft,
    )


ROUTES = [Route("/runs/new", new_run), change("/runs/new", edit)]
