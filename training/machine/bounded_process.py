"""A helper process for work whose cost depends on foreign content.

Patterns, schemas and chat templates are programs: ``a{1000000000}``, ``{{ 'a' * 10**9 }}``. They
run in calls that no signal interrupts, and therefore in a process with limited memory that can be
killed. ``python -m training.machine.bounded_process MODULE:FUNCTION MEMORY SECONDS`` reads
requests and writes replies, each a line of JSON, after one ``{"ready": true}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 120.0
_LONGEST_REPLY = 64 << 20
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONUSERBASE")
_SETTLED = {
    # Thread pools would reserve more address space than the limit allows.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


class OutOfBoundsError(Exception):
    """Work that exceeds its limit of time or memory; the text is a predicate ("takes …")."""


class WorkFailedError(Exception):
    """Work that failed; the text is that of its error."""


class BoundedProcess:
    """Helper process for one kind of work, one request at a time.

    The process starts with the first request, and again after a request that exceeded its limits;
    it ends together with this process.
    """

    def __init__(self, function: str, *, seconds: float, memory_bytes: int) -> None:
        """Set the work and its limits.

        Args:
            function: ``module:function``, which takes a request and returns a reply, both as plain
                data.
            seconds: Time limit for one request.
            memory_bytes: Limit of the process's address space.
        """
        self.seconds = seconds
        self._function = function
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, request: object) -> Any:
        """Return the reply to a request.

        Raises:
            OutOfBoundsError: The request exceeds a limit.
            WorkFailedError: The function raised.
            OSError: The process cannot be started.
        """
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            process = self._running()
            assert process.stdin is not None  # noqa: S101 - it was opened as a pipe
            with contextlib.suppress(OSError):  # The process has ended; _reply reports it.
                process.stdin.write(line)
                process.stdin.flush()
            reply = self._reply(process, self.seconds)
        if "failed" in reply:
            raise WorkFailedError(reply["failed"])
        if "memory" in reply:
            raise OutOfBoundsError(self._needs_memory())
        return reply["reply"]

    def close(self) -> None:
        """Kill the process if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with contextlib.suppress(OSError):
            # Its unread input cannot be flushed any more.
            process.communicate()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "training.machine.bounded_process", self._function),
                *(str(self._memory_bytes), str(self.seconds)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, **_SETTLED, "PYTHONPATH": path},
        )
        self._reply(self._process, _START_SECONDS)
        return self._process

    def _reply(self, process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
        assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        line = bytearray()
        while not line.endswith(b"\n"):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                self.close()
                raise OutOfBoundsError(f"takes longer than {seconds:g} s")
            data = os.read(process.stdout.fileno(), 1 << 20)
            if not data:
                self.close()
                raise OutOfBoundsError(self._needs_memory())
            line += data
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _needs_memory(self) -> str:
        return f"needs more than {self._memory_bytes >> 20} MiB of memory, or is nested too deeply"


def _serve(function: Callable[[Any], object], seconds: float) -> None:
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    replies.write('{"ready": true}\n')
    replies.flush()
    for line in sys.stdin.buffer:
        _limit_processor_time(seconds)
        try:
            reply = json.dumps({"reply": function(json.loads(line))})
            if len(reply) > _LONGEST_REPLY:
                reply = '{"memory": true}'
        except MemoryError:
            reply = '{"memory": true}'
        except Exception as error:  # noqa: BLE001 - reported to the other side
            reply = json.dumps({"failed": f"{type(error).__name__}: {error}"[:2000]})
        replies.write(reply + "\n")
        replies.flush()


def _limit_processor_time(seconds: float) -> None:
    """Let the kernel end a request when the other side has died."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + 2 * seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def main(arguments: list[str]) -> None:
    """Serve until standard input ends."""
    name, memory_bytes, seconds = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The other side handles Ctrl-C.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    module, _, function = name.partition(":")
    _serve(getattr(import_module(module), function), float(seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
