"""The execution and retry blocks of a run spec: pools, timeouts, threads and attempts."""

from __future__ import annotations

from dataclasses import dataclass

from tailrace.formats.resource_id import RESOURCE_ID, RESOURCE_ID_FORM
from tailrace.formats.schema import key


@dataclass(frozen=True)
class StageExecution:
    """Pool, timeout and threads of a stage."""

    pool: str = key(
        "Pool of slots for the stage.",
        default="cpu",
        minimum=1,
        max_length=63,
        pattern=RESOURCE_ID,
        form=f"a pool's name: {RESOURCE_ID_FORM}",
    )
    timeout: float = key(
        "Time limit of one attempt.",
        unit="seconds",
        default=86_400.0,
        duration=True,
        minimum=1,
        maximum=30 * 86_400,
    )
    threads: int = key(
        "CPU threads; 0 takes all of the slot's cores.", default=0, minimum=0, maximum=1024
    )


@dataclass(frozen=True)
class ExecutionSpec:
    """Execution settings per stage kind."""

    train: StageExecution = key("The TRAIN stage.", default=StageExecution())
    infer: StageExecution = key("The INFER stage.", default=StageExecution())
    judge: StageExecution = key("The JUDGE stage.", default=StageExecution())


@dataclass(frozen=True)
class RetrySpec:
    """Retry policy of failed attempts."""

    max_attempts: int = key(
        "Attempts per stage; released ones do not count.", default=3, minimum=1, maximum=100
    )
    initial_backoff: float = key(
        "Wait before the second attempt; doubles from then on.",
        unit="seconds",
        default=1.0,
        duration=True,
        minimum=0,
        maximum=3600,
    )
    max_backoff: float = key(
        "Longest wait.", unit="seconds", default=60.0, duration=True, minimum=0, maximum=86_400
    )
