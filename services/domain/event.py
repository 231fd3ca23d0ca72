"""Events that a stage process reports while it runs, and the digest chain over its records."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from services.domain.stage import Progress
from tailrace.formats.canonical import canonical_json, extend_chain
from tailrace.formats.limits import MAX_LINE_BYTES
from tailrace.formats.listing import FileEntry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LogLevel(enum.IntEnum):
    """Severity of a log line, with the numbers of the API."""

    DEBUG = 1
    """Detail for finding a fault."""
    INFO = 2
    """Normal progress."""
    WARNING = 3
    """A problem that does not stop the stage."""
    ERROR = 4
    """Reason for which the stage fails."""


class Channel(enum.StrEnum):
    """A sequence of records of an attempt in the log store."""

    LOGS = "logs"
    """Log lines."""
    METRICS = "metrics"
    """Metric points."""


class LogLine(NamedTuple):
    """One log line, a plain tuple because ten thousand may arrive per second."""

    micros: int
    """Time at which the worker read the line, in microseconds since 1970."""
    level: int
    """Severity, a :class:`LogLevel`."""
    text: str
    """The line without its line end."""

    def record(self) -> Sequence[Any]:
        """Return plain data: microseconds since 1970, level, text."""
        return self

    @classmethod
    def from_record(cls, record: Sequence[Any]) -> LogLine:
        """Return the inverse of :meth:`record`."""
        return cls(*record)

    def digest_input(self) -> bytes:
        """Return the bytes that the digest chain covers: the text."""
        return self.text.encode()


@dataclass(frozen=True)
class MetricPoint:
    """One value of a metric at a step."""

    name: str
    """Name of the metric, such as ``loss``."""
    step: int
    """Optimizer step."""
    value: float
    """Finite value."""
    time: datetime
    """Time of the measurement."""

    def record(self) -> list[Any]:
        """Return plain data: microseconds since 1970, name, step, value."""
        return [_micros(self.time), self.name, self.step, self.value]

    @classmethod
    def from_record(cls, record: list[Any]) -> MetricPoint:
        """Return the inverse of :meth:`record`."""
        return cls(record[1], record[2], float(record[3]), _from_micros(record[0]))

    def digest_input(self) -> bytes:
        """Return the bytes that the digest chain covers: the whole record."""
        return canonical_json(self.record()).encode()


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint that is complete and usable."""

    step: int
    """Step after which it was saved."""
    files: list[FileEntry]
    """Files of the checkpoint, all uploaded."""


@dataclass(frozen=True)
class RolloutsSaved:
    """Answers that a step of a training sampled, complete."""

    step: int
    """Step that learns from them; 0 for those of the pre-flight."""
    files: list[FileEntry]
    """Files of the rollouts, all uploaded."""


@dataclass(frozen=True)
class ReferenceSaved:
    """Log-probabilities under the starting model of a training, complete."""

    key: str
    """Digest of all that they depend on."""
    files: list[FileEntry]
    """Their files, all uploaded."""
    step: ClassVar[int] = 0
    """They belong to no step."""


@dataclass(frozen=True)
class Evaluation:
    """A prediction or a verdict."""

    key: tuple[str, str, str, int]
    """Eval set, example id, model role, sample."""
    body: dict[str, Any]
    """The record as plain data, as in the API."""
    judge: str | None = None
    """The judge of a verdict; ``None`` for a prediction."""


Saved = CheckpointSaved | RolloutsSaved | ReferenceSaved
"""Events that announce an artifact."""

Event = LogLine | MetricPoint | Progress | Saved | Evaluation


def extend_digest(digest: str, digested: Iterable[bytes]) -> str:
    """Return the digest chain after more records, in hex; the empty text starts one."""
    return extend_chain(bytes.fromhex(digest), digested).hex()


def clean_line(text: str, limit: int = MAX_LINE_BYTES) -> str:
    """Return text to store: NULs replaced, cut to ``limit`` bytes of UTF-8 between characters."""
    if len(text) <= limit and text.isascii() and "\0" not in text:
        return text
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[:limit].decode("utf-8", "ignore")


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
