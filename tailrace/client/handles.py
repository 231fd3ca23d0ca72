"""Handles of runs: objects with the RPCs of one run as methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

from tailrace.client import runs
from tailrace.client.artifacts import download_newest, list_artifacts
from tailrace.client.call import ItemsCall, ResponseCall, resource
from tailrace.client.method import Asynchronous, Blocking, of_resource

Response = TypeVar("Response")
Item = TypeVar("Item")


class RunMethods:
    """Methods of :class:`RunHandle` and :class:`AsyncRunHandle`."""

    get = of_resource(runs.get_run)
    wait = of_resource(runs.wait_for_run)
    watch = of_resource(runs.watch_run)
    logs = of_resource(runs.stream_logs)
    metrics = of_resource(runs.stream_metrics)
    predictions = of_resource(runs.list_predictions)
    verdicts = of_resource(runs.list_verdicts)
    artifacts = of_resource(list_artifacts)
    download = of_resource(download_newest)
    cancel = of_resource(runs.cancel_run)
    retry = of_resource(runs.retry_run)


class RunHandle(RunMethods, Blocking):
    """Handle of a run, from :meth:`tailrace.Client.run`.

    It holds the run's name and no state: each method calls the control plane.
    """

    def __init__(self, client: Blocking, name: str) -> None:
        self.name = resource("runs", name)
        """Resource name: ``runs/demo``."""
        self._client = client

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def _respond(self, call: ResponseCall[Response]) -> Response:
        return self._client._respond(call)

    def _iterate(self, call: ItemsCall[Item]) -> Iterator[Item]:
        return self._client._iterate(call)


class AsyncRunHandle(RunMethods, Asynchronous):
    """Handle of a run, from :meth:`tailrace.AsyncClient.run`; see :class:`RunHandle`."""

    def __init__(self, client: Asynchronous, name: str) -> None:
        self.name = resource("runs", name)
        """Resource name: ``runs/demo``."""
        self._client = client

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    async def _respond(self, call: ResponseCall[Response]) -> Response:
        return await self._client._respond(call)

    def _iterate(self, call: ItemsCall[Item]) -> AsyncIterator[Item]:
        return self._client._iterate(call)
