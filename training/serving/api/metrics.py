"""Prometheus metrics of the model server."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from training.serving.api.guard import Application, Receive, Scope, Send

if TYPE_CHECKING:
    # The page of metrics needs no JAX.
    from training.serving.engine import Engine

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the histograms."""

_PATHS = ("/v1/models", "/v1/chat/completions", "/v1/completions", "/health", "/metrics")
"""Paths that are counted separately."""


class ServingMetrics:
    """Metrics of the requests, and of the engine that answers them."""

    def __init__(self, engine: Engine) -> None:
        """Create the metrics; gauges read the engine whenever metrics are collected."""
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "tailrace_model_requests",
            "Requests by path and HTTP status.",
            ["path", "status"],
            registry=registry,
        )
        self.first_token = Histogram(
            "tailrace_model_first_token_seconds",
            "Time from a request to the first token of an answer.",
            buckets=SECONDS,
            registry=registry,
        )
        self.seconds = Histogram(
            "tailrace_model_answer_seconds",
            "Time from a request to the end of its answers.",
            buckets=SECONDS,
            registry=registry,
        )
        self.prompt_tokens = Counter(
            "tailrace_model_prompt_tokens", "Tokens of prompts.", registry=registry
        )
        self.completion_tokens = Counter(
            "tailrace_model_completion_tokens", "Tokens of answers.", registry=registry
        )
        gauges = {
            "slots": ("Requests that can decode together.", lambda: engine.shapes.slots),
            "running": ("Answers that decode.", lambda: engine.load.running),
            "waiting": ("Answers that wait for a slot.", lambda: engine.load.waiting),
        }
        for name, (text, read) in gauges.items():
            Gauge(f"tailrace_model_{name}", text, registry=registry).set_function(read)


class CountedRequests:
    """ASGI middleware that counts the responses of an application."""

    def __init__(self, application: Application, metrics: ServingMetrics) -> None:
        self._application = application
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""

        async def counting(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                path = scope["path"] if scope["path"] in _PATHS else "other"
                self._metrics.requests.labels(path, message["status"]).inc()
            await send(message)

        await self._application(scope, receive, counting)
