"""Jobs of the engine: prompts to answer, and the pieces of their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tailrace.formats.data.prediction import FinishReason
from training.generate.sampling import Sampling
from training.generate.slots import Request


class EngineClosedError(Exception):
    """End of the engine; the text says why, for people."""


@dataclass(frozen=True)
class Piece:
    """Next tokens of one sample of a job."""

    sample: int
    tokens: Sequence[int] = ()
    logprobs: Sequence[float] = ()
    finish: FinishReason | None = None
    """Reason of the end; None if more pieces follow."""
    error: str = ""
    """Reason for ``FinishReason.ERROR``."""


@dataclass(frozen=True, eq=False)
class Job:
    """A prompt with everything that its generation depends on."""

    prompt: Sequence[int]
    sampling: Sampling
    """Settings; the engine reads neither ``stop`` nor ``logprobs``."""
    receive: Callable[[Piece], None]
    """Receiver of the pieces, called in the engine's thread; must return at once."""
    client: str = ""
    """Name under which the job is scheduled fairly."""


@dataclass(eq=False)
class Row:
    """One sample of a job, waiting or running."""

    job: Job
    request: Request
    since: float
    """Time (``time.monotonic``) at which it began to wait."""
    started: float = 0.0

    @property
    def key(self) -> tuple[Job, int]:
        """Job and number of the sample."""
        return self.job, self.request.sample


@dataclass(frozen=True)
class Load:
    """Load of the engine."""

    running: int
    waiting: int
    tokens: int
    """Tokens generated so far."""
    seconds: float
    """Mean time of the latest answers from their first token to their end."""
