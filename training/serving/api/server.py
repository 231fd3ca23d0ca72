"""The HTTP server: its start, signals and end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from tailrace.formats.endpoint_access import KEYS_VARIABLE, PLACES_VARIABLE, read_place
from training.errors import TrainingError
from training.serving.api.address import Address
from training.serving.api.app import Limits, ModelApi
from training.serving.api.guard import Application, Guard, allowed_hosts
from training.serving.api.metrics import CountedRequests
from training.serving.model import ServedModel

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
_LAST_SECONDS = 5
"""Seconds for the last events of streams that were ended."""


class ServingError(TrainingError):
    """End of the server because generation failed."""

    reason = "SERVING_FAILED"


def serve(
    model: ServedModel, address: Address, bound: socket.socket, limits: Limits, grace: float
) -> None:
    """Serve a model until SIGTERM or SIGINT; running answers may take ``grace`` more seconds.

    Raises:
        ServingError: Generation failed.
        KeyboardInterrupt: The signal was SIGINT.
    """
    api = ModelApi(model, limits)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        watcher = asyncio.create_task(_watch(server, api, model, grace))
        _announce(model.name, address, bound)
        yield
        watcher.cancel()

    guarded: Application = Guard(
        api.application(lifespan), address.keys, allowed_hosts(address.host, address.hosts)
    )
    config = uvicorn.Config(
        CountedRequests(guarded, api.metrics),
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(grace) + _LAST_SECONDS,
    )
    server = uvicorn.Server(config)
    # uvicorn repeats the signal when it has ended: SIGTERM is a normal end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # From here on clients connect; they are answered as soon as the loop runs.
    bound.listen()
    try:
        server.run(sockets=[bound])
    finally:
        failure = model.engine.failure
        model.engine.close("the server has ended")
    if failure and not api.is_ending:
        raise ServingError(failure)


async def _watch(server: Any, api: ModelApi, model: ServedModel, grace: float) -> None:
    """End the server when generation fails, and running answers when their time is over."""
    while not server.should_exit:
        if model.engine.failure:
            server.should_exit = True
            return
        await asyncio.sleep(_POLL_SECONDS)
    api.is_ending = True
    _log.info("ending: running answers have %g s", grace)
    await asyncio.sleep(grace)
    await asyncio.to_thread(model.engine.close, "the server is ending")


def _announce(name: str, address: Address, bound: socket.socket) -> None:
    """Log the server's URL and the settings with which workers let judges use it."""
    host = address.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = socket.gethostname()
    place = read_place(f"[{host}]" if ":" in host else host, bound.getsockname()[1])
    _log.info("serving %s at http://%s/v1", name, place)
    _log.info(
        "as a judge's endpoint: start workers with %s=%s (`tailrace up --allow-endpoint %s`)",
        PLACES_VARIABLE,
        place,
        place,
    )
    if address.keys:
        _log.info("and put the key for %s into the file that %s names", place, KEYS_VARIABLE)
