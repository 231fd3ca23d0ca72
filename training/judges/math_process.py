"""A process that compares mathematical answers, and can be killed when it takes too long.

Algebra on hostile text (``9^{9^{9}}``) takes any time and memory, inside of calls that no signal
interrupts. Both sides speak JSON lines: ``{"right": [...], "answer": ...}`` in, ``{"same": bool,
"parsed": str}`` or ``{"error": str}`` out, after one ``{"ready": true}``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import resource
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from training.judges.base import JudgeError

_START_SECONDS = 120.0
_MEMORY_BYTES = 4 << 30


class MathProcess:
    """Starts the process when it is first asked, and again after it was killed."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def same(self, right: list[str], answer: str) -> tuple[bool, str]:
        """Whether ``answer`` equals one of ``right``, and how it was understood.

        Raises :class:`JudgeError` when that takes too long or cannot be told.
        """
        process = self._started()
        assert process.stdin is not None  # noqa: S101 - it was opened as a pipe
        try:
            process.stdin.write(json.dumps({"right": right, "answer": answer}) + "\n")
            process.stdin.flush()
        except OSError as error:
            self.close()
            raise JudgeError(f"the comparing process is gone: {error}") from error
        reply = self._reply(self._seconds)
        if "error" in reply:
            raise JudgeError(f"the answers could not be compared: {reply['error']}")
        return bool(reply["same"]), str(reply["parsed"])

    def close(self) -> None:
        """Kill the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with contextlib.suppress(OSError):
            # What it had not read yet cannot be flushed any more.
            process.communicate()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None:
            return self._process
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path},
        )
        # A queue of its own, so that no late answer of a killed process is taken for the next one.
        self._answers = queue.SimpleQueue()
        assert self._process.stdout is not None  # noqa: S101 - it was opened as a pipe
        reader = threading.Thread(
            target=_read, args=(self._process.stdout, self._answers), daemon=True
        )
        reader.start()
        self._reply(_START_SECONDS)
        return self._process

    def _reply(self, seconds: float) -> Mapping[str, Any]:
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            self.close()
            raise JudgeError(f"comparing took longer than {seconds:g} s") from None
        if not line:
            self.close()
            raise JudgeError("the comparing process ended; the answer may need too much memory")
        reply: Mapping[str, Any] = json.loads(line)
        return reply


def _read(stdout: IO[str], answers: queue.SimpleQueue[str]) -> None:
    with contextlib.suppress(ValueError):  # closed while it was read
        for line in stdout:
            answers.put(line)
    answers.put("")


def _serve() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    # It warns that nothing limits its time; this process is killed.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    from training.judges.math_comparison import compare

    sys.stdout.write('{"ready": true}\n')
    sys.stdout.flush()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            same, parsed = compare(request["right"], request["answer"])
            reply: dict[str, object] = {"same": same, "parsed": parsed}
        except Exception as error:  # noqa: BLE001 - told to the other side
            reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
