"""Comparing mathematical answers in a process that can be killed and may not grow.

Algebra on hostile text (``9^{9^{9}}``) takes any time and memory, inside of calls that no signal
interrupts.
"""

from __future__ import annotations

from training.judges.base import JudgeError
from training.machine.bounded_process import BoundedProcess, OutOfBoundsError, WorkFailedError

SECONDS = 20.0
"""Longest comparison of one answer; most take milliseconds."""

MEMORY_BYTES = 4 << 30
"""Most memory that a comparison may need."""

PROCESS = BoundedProcess(
    "training.judges.answers.math_comparison:answer", seconds=SECONDS, memory_bytes=MEMORY_BYTES
)
"""Compares."""


def same(right: list[str], answer: str) -> tuple[bool, str]:
    """Return whether ``answer`` equals one of ``right``, and how it was understood.

    Raises :class:`JudgeError` when that takes too much time or memory, or cannot be decided.
    """
    try:
        reply = PROCESS.ask({"right": right, "answer": answer})
    except OutOfBoundsError as error:
        raise JudgeError(f"comparing {error}") from error
    except WorkFailedError as error:
        raise JudgeError(f"the answers could not be compared: {error}") from error
    return bool(reply["same"]), str(reply["parsed"])
