"""The pool process's end of the control socket; see :mod:`workers.pool.parent_socket`."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from workers.pool.directives import Directives
from workers.pool.parent_socket import encode, short_address

_SLOT_SECONDS = 60.0
"""Time that a pool process waits for a slot, whose last process may still be ending."""


class ControlSocketError(Exception):
    """The parent assigned no slot: it is gone, or all slots are taken."""


class ChildSocket:
    """Connection to the parent, which lasts as long as the pool process."""

    def __init__(self, path: Path) -> None:
        """Connect and wait for a slot.

        Raises:
            ControlSocketError: There is no slot within a minute, or the parent is gone.
        """
        self._lock = threading.Lock()
        self._lease: str | None = None
        self._directives: Directives | None = None
        self._draining = False
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(_SLOT_SECONDS)
            with short_address(path) as address:
                self._socket.connect(address)
            self._lines = self._socket.makefile("r", encoding="utf-8")
            first = self._lines.readline()
            self._socket.settimeout(None)
        except OSError as error:
            self._socket.close()
            raise ControlSocketError(
                f"the worker's parent process assigned no slot: {error}"
            ) from error
        if not first:
            raise ControlSocketError("the worker's parent process closed the connection")
        greeting = json.loads(first)
        self.slot: str = greeting["slot"]
        """Id of this process's slot."""
        self.memory_mib: int = greeting["memory_mib"]
        """Memory in MiB that the slot's accelerators use without a stage."""
        self.secret: str = greeting["secret"]
        """Secret of the worker's latest registration."""
        threading.Thread(target=self._listen, name="control-socket", daemon=True).start()

    @property
    def draining(self) -> bool:
        """True once the worker is shutting down."""
        return self._draining

    @contextlib.contextmanager
    def lease(self, token: str, directives: Directives) -> Iterator[None]:
        """Keep the lease alive and receive its directives inside the ``with`` block."""
        with self._lock:
            self._lease, self._directives = token, directives
            if self._draining:
                directives.drain()
        self._tell({"lease": token})
        try:
            yield
        finally:
            with self._lock:
                self._lease, self._directives = None, None
            self._tell({"lease": None})

    def quarantine(self, reason: str) -> None:
        """Report the reason why the slot accepts no stage; empty once it does again."""
        self._tell({"quarantine": reason})

    def send_event(self, event: Mapping[str, Any]) -> None:
        """Pass a Celery event to the parent, which sends it."""
        self._tell({"event": event})

    def close(self) -> None:
        """Close the connection, which frees the slot."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _tell(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # without its parent this process is about to end
            self._socket.sendall(encode(message))

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in self._lines:
                self._take(json.loads(line))

    def _take(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            if message.get("drain"):
                self._draining = True
                if self._directives is not None:
                    self._directives.drain()
            elif "secret" in message:
                self.secret = message["secret"]
            elif message.get("lease") == self._lease and self._directives is not None:
                self._directives.direct(message["directive"])
