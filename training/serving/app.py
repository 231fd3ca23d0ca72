"""The HTTP application: OpenAI's endpoints for one model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from training.serving.answering import Answer, EventStream, unless_gone
from training.serving.errors import ApiError
from training.serving.generation import Generation, Question
from training.serving.guard import CLIENT
from training.serving.metrics import ServingMetrics
from training.serving.model import ServedModel
from training.serving.reading import read_chat, read_completion
from training.serving.replies import ChatReply, CompletionReply, Reply
from training.serving.schema import SamplingRequest

T = TypeVar("T")

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
        self._preparer = ThreadPoolExecutor(1, thread_name_prefix="prompts")
        self._preparing = 0

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
        self._require_model(request.path_params["model"])
        return JSONResponse(self._description())

    async def _chat(self, request: Request) -> Response | EventStream:
        body = await self._body(request)
        parsed, prompt = await self._prepare(self._read_chat, body)
        question = Question(
            [prompt],
            self._model.sampling(parsed, parsed.limit),
            _client(request, parsed),
            has_tools=bool(parsed.tools),
            with_logprobs=parsed.logprobs,
        )
        generation = Generation(self._model, question)
        reply = ChatReply(generation, self._model.chat, self._model.name)
        return await self._respond(request, parsed, generation, reply)

    async def _complete(self, request: Request) -> Response | EventStream:
        body = await self._body(request)
        parsed, prompts = await self._prepare(self._read_completion, body)
        question = Question(
            prompts,
            self._model.sampling(parsed, parsed.limit),
            _client(request, parsed),
            with_logprobs=parsed.logprobs is not None,
        )
        generation = Generation(self._model, question)
        reply = CompletionReply(generation, self._model.chat, self._model.name)
        return await self._respond(request, parsed, generation, reply)

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

    def _require_model(self, name: str) -> None:
        if name != self._model.name:
            raise ApiError(
                404,
                f"there is no model {name[:100]!r} here: this server has {self._model.name!r}",
                code="model_not_found",
                param="model",
            )

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

    async def _prepare(self, function: Callable[[bytes], T], body: bytes) -> T:
        """Call a function in the thread that prepares prompts."""
        if self._preparing >= self._limits.places:
            problem = f"{self._preparing} prompts are being prepared: no more may wait"
            raise ApiError(429, problem, code="queue_full", headers={"Retry-After": "1"})
        self._preparing += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._preparer, function, body)
        finally:
            self._preparing -= 1

    def _read_chat(self, body: bytes) -> Any:
        request = read_chat(body)
        self._require_model(request.model)
        return request, self._model.request_prompt(request)

    def _read_completion(self, body: bytes) -> Any:
        request, prompts = read_completion(body)
        self._require_model(request.model)
        return request, list(map(self._model.text_prompt, prompts))

    async def _respond(
        self, request: Request, parsed: SamplingRequest, generation: Generation, reply: Reply
    ) -> Response | EventStream:
        answer = Answer(self.metrics, generation, reply, self._limits.seconds)
        if parsed.stream:
            options = parsed.stream_options
            with_usage = options is not None and options.include_usage
            return EventStream(generation, answer.events(with_usage=with_usage))
        try:
            return JSONResponse(await unless_gone(request, answer.whole()))
        finally:
            generation.close()


def _client(request: Request, parsed: SamplingRequest) -> str:
    return f"{request.scope[CLIENT]}/{parsed.user or ''}"


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
