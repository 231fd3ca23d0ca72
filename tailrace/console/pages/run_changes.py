"""Changes of a run: cancel, retry, judge again, promote."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tailrace.client.call import resource
from tailrace.console.changes import change, text
from tailrace.console.rendering import client
from tailrace.errors import InvalidArgument
from tailrace.formats.schema import SpecError


async def cancel(request: Request, form: FormData) -> Response:
    """Cancel the run."""
    del form
    run = await client(request).cancel_run(request.path_params["run"])
    return RedirectResponse(f"/{run.name}", 303)


async def retry(request: Request, form: FormData) -> Response:
    """Queue the run again."""
    del form
    run = await client(request).retry_run(request.path_params["run"])
    return RedirectResponse(f"/{run.name}", 303)


async def judge(request: Request, form: FormData) -> Response:
    """Create a run that judges the predictions of this one."""
    names = [name.strip() for name in text(form, "judges").split(",") if name.strip()]
    spec = {
        "predictions": resource("runs", request.path_params["run"]),
        "judges": [{"name": name} for name in names],
    }
    try:
        run = await client(request).create_run(spec)
    except SpecError as error:
        raise InvalidArgument(str(error)) from error
    return RedirectResponse(f"/{run.name}", 303)


async def promote(request: Request, form: FormData) -> Response:
    """Make the run's final model the next version of a model."""
    await client(request).promote_model(
        request.path_params["run"],
        text(form, "model"),
        description=text(form, "description"),
        force=bool(text(form, "force")),
        reason=text(form, "reason"),
    )
    return RedirectResponse(f"/runs/{request.path_params['run']}", 303)


ROUTES = [
    change("/runs/{run}/cancel", cancel),
    change("/runs/{run}/retry", retry),
    change("/runs/{run}/judge", judge),
    change("/runs/{run}/promote", promote),
]
