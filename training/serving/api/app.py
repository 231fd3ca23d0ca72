"""The HTTP application: OpenAI's endpoints for one model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from training.data.chat_format import ChatFormat
from training.serving.api.answering import Answer, EventStream, unless_gone
from training.serving.api.errors import ApiError
from training.serving.api.generation import Generation
from training.serving.api.guard import CLIENT
from training.serving.api.metrics import ServingMetrics
from training.serving.api.questions import (
    Question,
    chat_question,
    completion_question,
    require_model,
)
from training.serving.api.replies import ChatReply, CompletionReply, Reply
from training.serving.api.turns import Turns
from training.serving.model import ServedModel
from training.serving.queue import FullError

BODY_SECONDS = 60.0
"""Time limit for receiving a body."""

_CLOSED_REQUEST = 499
"""Status of requests whose client went away (nginx's convention)."""


@dataclass(frozen=True)
class Limits:
    """Limits of requests."""

    body_bytes: int
    """Largest body."""
    seconds: float
    """Time for all answers of a request."""
    places: int
    """Maximum number of requests whose prompts are being prepared."""


class ModelApi:
    """The endpoints of one model."""

    def __init__(self, model: ServedModel, limits: Limits) -> None:
        self.metrics = ServingMetrics(model.engine)
        self.is_ending = False
        """True when the server accepts no further requests."""
        self._model = model
        self._limits = limits
        self._created = int(time.time())
        # Templates and long texts take their time, and must not stop the event loop.
        self._turns = Turns(limits.places)

    def application(self, lifespan: Any = None) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/models/{model:path}", self._one_model),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._complete, methods=["POST"]),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
            ],
            exception_handlers={
                ApiError: _refuse,
                HTTPException: _refuse_http,
                ClientDisconnect: _forget,
                Exception: _fail,
            },
            lifespan=lifespan,
        )

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._description()]})

    async def _one_model(self, request: Request) -> Response:
        require_model(self._model, request.path_params["model"])
        return JSONResponse(self._description())

    async def _chat(self, request: Request) -> Response | EventStream:
        return await self._answer(request, chat_question, ChatReply)

    async def _complete(self, request: Request) -> Response | EventStream:
        return await self._answer(request, completion_question, CompletionReply)

    async def _health(self, _: Request) -> Response:
        problem = self._model.engine.failure or ("is ending" if self.is_ending else "")
        if problem:
            return JSONResponse({"status": "unavailable", "problem": problem}, 503)
        return JSONResponse({"status": "ok", "model": self._model.name})

    async def _metrics(self, _: Request) -> Response:
        content = generate_latest(self.metrics.registry)
        return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _description(self) -> dict[str, Any]:
        fields = {"created": self._created, "owned_by": "tailrace"}
        context = {"max_model_len": self._model.context}
        return {"id": self._model.name, "object": "model", **fields, **context}

    async def _body(self, request: Request) -> bytes:
        """Return the body of a request.

        Raises:
            ApiError: It is not JSON by its type, is too large, or comes too slowly.
        """
        if self.is_ending:
            raise ApiError(503, "the server is ending", code="unavailable")
        # A page of a browser can send other types without asking this server first.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise ApiError(415, "Content-Type must be application/json", code="invalid_type")
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self._limits.body_bytes:
                        problem = f"the body must have at most {self._limits.body_bytes} bytes"
                        raise ApiError(413, problem, code="body_too_large")
        except TimeoutError as error:
            problem = f"the body did not arrive in {BODY_SECONDS:g} s"
            raise ApiError(408, problem, code="body_timeout") from error
        return bytes(body)

    async def _question(
        self, request: Request, read: Callable[[ServedModel, bytes], Question]
    ) -> Question:
        """Return the question of a request, read in the thread that prepares prompts."""
        body = await self._body(request)
        try:
            return await self._turns.call(request.scope[CLIENT], len(body), read, self._model, body)
        except FullError as error:
            headers = {"Retry-After": "1"}
            raise ApiError(429, str(error), code="queue_full", headers=headers) from error

    async def _answer(
        self,
        request: Request,
        read: Callable[[ServedModel, bytes], Question],
        reply_of: Callable[[Generation, ChatFormat, str], Reply],
    ) -> Response | EventStream:
        question = await self._question(request, read)
        fields = question.request
        client = f"{request.scope[CLIENT]}/{fields.user or ''}"
        generation = Generation(self._model, question, client)
        reply = reply_of(generation, self._model.chat, self._model.name)
        answer = Answer(self.metrics, generation, reply, self._limits.seconds)
        if fields.stream:
            options = fields.stream_options
            with_usage = options is not None and options.include_usage
            return EventStream(generation, answer.events(with_usage=with_usage))
        try:
            return JSONResponse(await unless_gone(request, answer.whole()))
        finally:
            generation.close()


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - it is registered for no other
    return JSONResponse(error.body, error.status, headers=error.headers)


async def _refuse_http(request: Request, error: Exception) -> Response:
    """Answer for paths and methods that do not exist."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for no other
    text = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return await _refuse(request, ApiError(error.status_code, text))


async def _forget(_: Request, __: Exception) -> Response:
    return Response(status_code=_CLOSED_REQUEST)


async def _fail(_: Request, __: Exception) -> Response:
    return JSONResponse(ApiError(500, "a fault of the server; its log has the details").body, 500)
