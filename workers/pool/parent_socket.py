"""The parent's end of the control socket, a UNIX socket between a worker's processes.

The parent hands out slots and directives; pool processes report their leases, so that one heartbeat
covers all of them. A connection lasts as long as its pool process: however the process dies, the
kernel closes the connection, which frees the slot and stops keeping the lease alive. Files under
locks would also do, but both sides would have to poll them and clean up.

Messages are JSON objects, one per line. To the pool process: once ``{"slot": id, "memory_mib":
number, "secret": text}``, then ``{"directive": number, "lease": token}``, ``{"drain": true}``, and
``{"secret": text}`` with the secret of each further registration. To the parent: ``{"lease":
token}`` or ``{"lease": null}``, ``{"quarantine": reason}``, and ``{"event": fields}`` with a Celery
event to send.
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
"""Time that a pool process has to end after its connection has closed."""


@dataclass(frozen=True)
class Orphan:
    """A lease whose pool process is gone."""

    lease: str
    """Lease token."""
    slot: str
    """Slot of the process."""
    process: Any
    """The process; ``None`` if unknown."""
    started: Mapping[str, Any] | None = None
    """Celery event of the attempt's start."""

    def exit_status(self) -> int | None:
        """Return the process's exit status, negative for a signal; ``None`` if unknown."""
        deadline = time.monotonic() + _EXIT_SECONDS
        status = None
        while self.process is not None and status is None and time.monotonic() < deadline:
            status = self.process.exitcode
            time.sleep(0.01)
        return status


class ParentSocket:
    """The parent's end of the control socket, served by a thread."""

    def __init__(
        self,
        folder: Path,
        slots: Mapping[str, int],
        vacated: Callable[[str], None],
        on_event: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> None:
        """Listen in a folder that no other user can enter.

        Args:
            folder: Folder of the worker, with mode 0700 and without a control socket.
            slots: Ids of the slots to hand out, each with the memory in MiB that its accelerators
                use without a stage; a pool process gets one.
            vacated: Callback with the slot of a dead pool process, before another one gets it.
            on_event: Callback for each Celery event of a pool process.
        """
        self.path = folder / "control.sock"
        """Path to which pool processes connect."""
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
        """Callback when there are orphans to take."""
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
        """True once :meth:`drain` was called."""
        return self._drain.is_set()

    def drain(self) -> None:
        """Tell every current and future pool process to hand back its stage.

        This only sets a flag, so that a signal handler may call it.
        """
        self._drain.set()

    def set_secret(self, secret: str) -> None:
        """Send the secret of the worker's registration to every current and future pool process."""
        with self._lock:
            self._secret = secret
            for connection in self._children:
                _send(connection, {"secret": secret})

    def send_event(self, event: Mapping[str, Any]) -> None:
        """Pass on a Celery event of the parent itself."""
        self._on_event(event)

    def take_orphans(self) -> list[Orphan]:
        """Return the orphans since the last call."""
        with self._lock:
            orphans, self._orphans = self._orphans, []
            return orphans

    def leases(self) -> list[str]:
        """Return the tokens of all leases that living pool processes hold."""
        with self._lock:
            return [child.lease for child in self._children.values() if child.lease]

    def quarantine(self) -> dict[str, str]:
        """Return the reason why each quarantined slot accepts no stage, by slot id."""
        with self._lock:
            children = self._children.values()
            return {child.slot: child.quarantine for child in children if child.quarantine}

    def direct(self, lease: str, directive: stage_pb2.Directive.ValueType) -> None:
        """Pass a directive on to the pool process that holds the lease, if there still is one."""
        with self._lock:
            for connection, child in self._children.items():
                if child.lease == lease:
                    _send(connection, {"directive": int(directive), "lease": lease})

    def close(self) -> None:
        """Close all connections and remove the socket."""
        self._closed.set()
        self._thread.join()
        for connection in [*self._children, *self._waiting, self._listener]:
            connection.close()
        self._selector.close()
        self.path.unlink(missing_ok=True)

    def _run(self) -> None:
        drain_sent = False
        while not self._closed.is_set():
            for key, _ in self._selector.select(timeout=0.1):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(key.fileobj)  # type: ignore[arg-type]  # only sockets are registered
            if self._drain.is_set() and not drain_sent:
                drain_sent = True
                with self._lock:
                    for connection in self._children:
                        _send(connection, {"drain": True})

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:  # the process is gone again, or there is no free descriptor
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
                greeting = {
                    "slot": slot,
                    "memory_mib": self._memory_mib[slot],
                    "secret": self._secret,
                }
                _send(connection, greeting)
                if self._drain.is_set():
                    _send(connection, {"drain": True})

    def _read(self, connection: socket.socket) -> None:
        try:
            received = connection.recv(65_536)
        except OSError:
            received = b""
        if not received:
            self._hang_up(connection)
            return
        child = self._children.get(connection)
        if child is not None:
            for message in child.messages(received):
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
    """State of a connected pool process, as the parent knows it."""

    def __init__(self, slot: str, process: Any) -> None:
        self.slot = slot
        self.process = process
        self.lease: str | None = None
        self.quarantine = ""
        self.started: Mapping[str, Any] | None = None
        self._rest = b""

    def messages(self, received: bytes) -> list[dict[str, Any]]:
        *lines, self._rest = (self._rest + received).split(b"\n")
        return [json.loads(line) for line in lines]

    def take(self, message: Mapping[str, Any]) -> None:
        """Update the state from a message of the process."""
        event = message.get("event", {})
        if event.get("type") == "task-started":
            self.started = event
        elif "lease" in message:
            self.started = None
        self.lease = message.get("lease", self.lease)
        self.quarantine = message.get("quarantine", self.quarantine)


def _peer(connection: socket.socket) -> Any:
    """Return the pool process at the other end; ``None`` if it is not one of the pool."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, _user, _group = struct.unpack("3i", credentials)
    # Processes that have ended are left to the pool, which reaps them itself.
    processes = active_children(_cleanup=lambda: None)
    return next((process for process in processes if process.pid == pid), None)


@contextlib.contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Yield an address of a UNIX socket whose path may exceed the 107 bytes of unix(7)."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    # A dead pool process is noticed when its connection is read.
    with contextlib.suppress(OSError):
        connection.sendall(encode(message))


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a message as a line."""
    return json.dumps(message).encode() + b"\n"
