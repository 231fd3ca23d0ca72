"""Both flavours of transfer against a real control plane, behind a connection that can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tailrace import transfer
from tailrace.channel import connect, connect_aio
from tailrace.transfer import aio
from tests.servers.control_plane import ServedControlPlane
from tests.servers.proxy import Proxy
from tests.unit.tailrace.transfer.content import MAX_BLOB_BYTES


@pytest.fixture(scope="package")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="package")
def served(sqlite_template: Path, store_folder: Path) -> Iterator[ServedControlPlane]:
    control_plane = ServedControlPlane.on_copy(
        sqlite_template, store_folder, max_blob_bytes=MAX_BLOB_BYTES
    )
    yield control_plane
    control_plane.stop()


@pytest.fixture
def proxy(served: ServedControlPlane) -> Iterator[Proxy]:
    breaking_proxy = Proxy(served.port)
    yield breaking_proxy
    breaking_proxy.close()


class Blocking:
    """Blocking functions, each call on a new channel."""

    def __init__(self, port: int) -> None:
        self._address = f"127.0.0.1:{port}"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            with connect(self._address) as channel:
                return getattr(transfer, name)(channel, *args)

        return call


class Aio:
    """Asyncio functions, each call in a new loop."""

    def __init__(self, port: int) -> None:
        self._address = f"127.0.0.1:{port}"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def run(*args: Any) -> Any:
            async with connect_aio(self._address) as channel:
                return await getattr(aio, name)(channel, *args)

        return lambda *args: asyncio.run(run(*args))


@pytest.fixture(params=[Blocking, Aio], ids=["blocking", "aio"])
def moves(request: pytest.FixtureRequest, proxy: Proxy) -> Any:
    """``upload_folder`` and the others, bound to a channel through the proxy."""
    return request.param(proxy.port)
