"""A control plane in a thread of this process, for tests that look at it from both sides."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from services.server import ControlPlane
from services.settings import Settings
from tests.servers.worker_token import token_file

T = TypeVar("T")

_DEADLINE = 60.0


class ServedControlPlane:
    """A real control plane on a free port; its broker is not there and not needed for content."""

    def __init__(self, database_url: str, folder: Path, **settings: Any) -> None:
        self._settings = Settings(
            database_url=database_url,
            data_dir=folder,
            listen="127.0.0.1:0",
            broker_url="redis://127.0.0.1:1/0",
            shutdown_grace_seconds=1.0,
            **{"worker_token_file": token_file(), **settings},
        )
        self._ready: Future[str] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self.address = self._ready.result(_DEADLINE)

    @classmethod
    def on_copy(cls, template: Path, folder: Path, **settings: Any) -> ServedControlPlane:
        """One with its data in ``folder``, the database copied from a migrated SQLite file."""
        database = folder / "tailrace.db"
        database.write_bytes(template.read_bytes())
        return cls(f"sqlite+aiosqlite:///{database}", folder, **settings)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.address.rpartition(":")[2])

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the control plane's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_DEADLINE)

    def stop(self) -> None:
        """Drain and end it."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(_DEADLINE)
        if self._thread.is_alive():
            raise TimeoutError("the control plane does not end")

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        try:
            self.control_plane = ControlPlane(self._settings)
            address = await self.control_plane.start()
        except BaseException as error:
            self._ready.set_exception(error)
            raise
        self._ready.set_result(address)
        await self._end.wait()
        await self.control_plane.stop()
