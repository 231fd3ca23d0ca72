"""The parent's end of how a worker's processes talk: a UNIX socket in a private folder.

The parent hands out slots and directives, children hand in their leases, so that one heartbeat
speaks for all of them. A connection lasts as long as its child: when a child dies, however it
dies, the kernel closes it, and its slot is free and its lease is no longer kept alive. Files
under locks would do, but would have to be polled on both sides and cleaned up.

Messages are JSON objects, one a line. To the child: ``{"slot": id, "memory_mib": number}`` once,
then ``{"directive": number, "lease": token}``, ``{"drain": true}`` and ``{"secret": text}``, which
is what the worker got when it registered. To the parent: ``{"lease": token}`` or
``{"lease": null}``, ``{"quarantine": why}``, and ``{"event": fields}`` for a Celery event that the
parent is to send.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from billiard.process import active_children

from tailrace.v1 import stage_pb2

_log = structlog.get_logger(__name__)

_EXIT_SECONDS = 2.0
"""How long a pool process may take from hanging up to its end."""


@dataclass(frozen=True)
class Orphan:
    """A lease whose pool process is gone."""

    lease: str
    """Its token."""
    slot: str
    """The slot of the process."""
    process: Any
    """The process; ``None`` where it is not known."""
    started: Mapping[str, Any] | None = None
    """The Celery event by which it reported its attempt's start."""

    def exit_status(self) -> int | None:
        """Return the process's exit status, negative for a signal; ``None`` if it is not known."""
        deadline = time.monotonic() + _EXIT_SECONDS
        status = None
        while self.process is not None and status is None and time.monotonic() < deadline:
            status = self.process.exitcode
            time.sleep(0.01)
        return status


class ParentSocket:
    """The parent's end; runs in a thread of its own."""

    def __init__(
        self,
        folder: Path,
        slots: Mapping[str, int],
        vacated: Callable[[str], None],
        on_event: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> None:
        """Listen in a folder that nobody else may enter.

        Args:
            folder: The worker's own, with mode 0700 and no control socket in it.
            slots: Ids of the slots to hand out, one per child at a time, each with the memory in
                MiB that its accelerators use without a stage.
            vacated: Called with a slot whose child is gone, before another one gets it.
            on_event: Called with each Celery event that a child hands in.
        """
        self.path = folder / "control.sock"
        """Where children connect."""
        self._free = list(slots)
        self._memory_mib = dict(slots)
        self._vacated = vacated
        self._on_event = on_event
        self._lock = threading.Lock()
        self._children: dict[socket.socket, _Child] = {}
        self._waiting: list[socket.socket] = []
        self._secret = ""
        self._orphans: list[Orphan] = []
        self.on_orphan: Callable[[], object] = lambda: None
        """Called when there are orphans to take."""
        self._drain = threading.Event()
        self._closed = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        with short_address(self.path) as address:
            self._listener.bind(address)
        self._listener.listen(128)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="control-socket", daemon=True)
        self._thread.start()

    @property
    def draining(self) -> bool:
        """Whether :meth:`drain` was called."""
        return self._drain.is_set()

    def drain(self) -> None:
        """Tell every child, now and later, to hand back what it executes.

        Only sets a flag, so that a signal handler may call it.
        """
        self._drain.set()

    def set_secret(self, secret: str) -> None:
        """Let every child, now and later, know the secret that the worker got."""
        with self._lock:
            self._secret = secret
            for connection in self._children:
                _send(connection, {"secret": secret})

    def send_event(self, event: Mapping[str, Any]) -> None:
        """Have a Celery event sent, as for a child."""
        self._on_event(event)

    def take_orphans(self) -> list[Orphan]:
        """Return the orphans since the last call."""
        with self._lock:
            orphans, self._orphans = self._orphans, []
            return orphans

    def leases(self) -> list[str]:
        """Tokens of all leases that living children hold."""
        with self._lock:
            return [child.lease for child in self._children.values() if child.lease]

    def quarantine(self) -> dict[str, str]:
        """Why which slots take no stage."""
        with self._lock:
            children = self._children.values()
            return {child.slot: child.quarantine for child in children if child.quarantine}

    def direct(self, lease: str, directive: stage_pb2.Directive.ValueType) -> None:
        """Pass a directive on to the child that holds the lease, if there is one still."""
        with self._lock:
            for connection, child in self._children.items():
                if child.lease == lease:
                    _send(connection, {"directive": int(directive), "lease": lease})

    def close(self) -> None:
        """Hang up on everyone and remove the socket."""
        self._closed.set()
        self._thread.join()
        for connection in [*self._children, *self._waiting, self._listener]:
            connection.close()
        self._selector.close()
        self.path.unlink(missing_ok=True)

    def _run(self) -> None:
        told_to_drain = False
        while not self._closed.is_set():
            for key, _ in self._selector.select(timeout=0.1):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(key.fileobj)  # type: ignore[arg-type]  # only sockets are registered
            if self._drain.is_set() and not told_to_drain:
                told_to_drain = True
                with self._lock:
                    for connection in self._children:
                        _send(connection, {"drain": True})

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:  # it hung up again, or there is no descriptor left
            _log.warning("a pool process could not connect", error=str(error))
            return
        connection.settimeout(1.0)
        self._selector.register(connection, selectors.EVENT_READ)
        self._waiting.append(connection)
        self._hand_out()

    def _hand_out(self) -> None:
        with self._lock:
            while self._waiting and self._free:
                connection, slot = self._waiting.pop(0), self._free.pop(0)
                self._children[connection] = _Child(slot, _peer(connection))
                given = {"slot": slot, "memory_mib": self._memory_mib[slot], "secret": self._secret}
                _send(connection, given)
                if self._drain.is_set():
                    _send(connection, {"drain": True})

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65_536)
        except OSError:
            data = b""
        if not data:
            self._hang_up(connection)
            return
        child = self._children.get(connection)
        if child is not None:
            for message in child.messages(data):
                if "event" in message:
                    self._on_event(message["event"])
                with self._lock:
                    child.take(message)

    def _hang_up(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()
        with self._lock:
            child = self._children.pop(connection, None)
            if connection in self._waiting:
                self._waiting.remove(connection)
        if child is not None:
            if child.lease:
                _log.warning("a pool process ended while it held a lease", slot=child.slot)
            self._vacated(child.slot)
            with self._lock:
                self._free.append(child.slot)
                if child.lease:
                    orphan = Orphan(child.lease, child.slot, child.process, child.started)
                    self._orphans.append(orphan)
                    self.on_orphan()
        self._hand_out()


class _Child:
    """What the parent knows of a child."""

    def __init__(self, slot: str, process: Any) -> None:
        self.slot = slot
        self.process = process
        self.lease: str | None = None
        self.quarantine = ""
        self.started: Mapping[str, Any] | None = None
        self._rest = b""

    def messages(self, data: bytes) -> list[dict[str, Any]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def take(self, message: Mapping[str, Any]) -> None:
        """Note what it says of itself."""
        event = message.get("event", {})
        if event.get("type") == "task-started":
            self.started = event
        elif "lease" in message:
            self.started = None
        self.lease = message.get("lease", self.lease)
        self.quarantine = message.get("quarantine", self.quarantine)


def _peer(connection: socket.socket) -> Any:
    """Return the pool process at the other end; ``None`` if it is none of the pool's."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, _user, _group = struct.unpack("3i", credentials)
    # Processes that have ended are left to the pool, which waits for them itself.
    processes = active_children(_cleanup=lambda: None)
    return next((process for process in processes if process.pid == pid), None)


@contextlib.contextmanager
def short_address(path: Path) -> Iterator[str]:
    """An address of a UNIX socket, whose path may be longer than the 107 bytes of unix(7)."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    # A child that is gone is noticed where its connection is read.
    with contextlib.suppress(OSError):
        connection.sendall(encode(message))


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as it travels."""
    return json.dumps(message).encode() + b"\n"
