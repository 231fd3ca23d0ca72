"""Models: versions with lineage, aliases and scores; promotion, aliases, deletion."""

from __future__ import annotations

from collections import defaultdict

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tailrace.cli.run_report.scores import gate_outcome
from tailrace.console.changes import change, text
from tailrace.console.rendering import client, render
from tailrace.errors import TailraceError, Unauthenticated, Unavailable
from tailrace.v1 import evaluation_pb2, model_pb2

_LIMIT = 500


async def models(request: Request) -> Response:
    """Show every model with its versions, the newest model first."""
    return await _list(request)


async def _list(request: Request, error: TailraceError | None = None) -> Response:
    versions: dict[str, list[model_pb2.Model]] = defaultdict(list)
    count = 0
    async for version in client(request).list_models(limit=_LIMIT + 1):
        versions[version.name].append(version)
        count += 1
    return render(
        request,
        "models.html",
        400 if error else 200,
        models=versions.values(),
        has_more=count > _LIMIT,
        run=request.query_params.get("run", ""),
        error=error,
    )


async def model(request: Request) -> Response:
    """Show a version of a model."""
    return await _version(request)


async def _version(request: Request, error: TailraceError | None = None) -> Response:
    version = await client(request).get_model(f"models/{request.path_params['name']}")
    return render(
        request,
        "model.html",
        400 if error else 200,
        model=version,
        name=f"{version.name}@{version.version}",
        lineage=[(step, _scores(step), _gates(step)) for step in version.lineage],
        error=error,
    )


def _scores(step: model_pb2.LineageStep) -> list[evaluation_pb2.JudgeScore]:
    return [
        score
        for score in step.scores
        if score.HasField("score") and score.model_role != evaluation_pb2.MODEL_ROLE_BASE
    ]


def _gates(step: model_pb2.LineageStep) -> list[tuple[str, str]]:
    return [(gate.name, gate_outcome(gate)) for gate in step.gates]


async def promote(request: Request, form: FormData) -> Response:
    """Make the final model of a run the next version of a model."""
    try:
        version = await client(request).promote_model(
            text(form, "run").strip(),
            text(form, "model").strip(),
            description=text(form, "description").strip(),
            force=bool(text(form, "force")),
            reason=text(form, "reason").strip(),
        )
    except (Unavailable, Unauthenticated):
        raise
    except TailraceError as error:
        return await _list(request, error)
    return RedirectResponse(f"/{version.name}@{version.version}", 303)


async def set_alias(request: Request, form: FormData) -> Response:
    """Move an alias to the version of the page, or remove it."""
    name, _, version = request.path_params["name"].partition("@")
    if not version.isascii() or not version.isdigit():
        raise HTTPException(404)
    number = 0 if text(form, "remove") else int(version[:9])
    try:
        await client(request).set_model_alias(name, text(form, "alias").strip(), number)
    except (Unavailable, Unauthenticated):
        raise
    except TailraceError as error:
        return await _version(request, error)
    return RedirectResponse(f"/models/{name}@{version}", 303)


async def delete(request: Request, form: FormData) -> Response:
    """Delete the version of the page."""
    del form
    try:
        await client(request).delete_model(f"models/{request.path_params['name']}")
    except (Unavailable, Unauthenticated):
        raise
    except TailraceError as error:
        return await _version(request, error)
    return RedirectResponse("/models", 303)


ROUTES = [
    Route("/models", models),
    change("/models/promote", promote),
    change("/models/{name}/alias", set_alias),
    change("/models/{name}/delete", delete),
    Route("/models/{name}", model),
]
