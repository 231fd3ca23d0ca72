"""How stages travel through the broker: task names and ids, exchange, queues.

The relay of the control plane and the workers share nothing else. Queues are bound to one topic
exchange, one queue per pool; messages carry exchange and routing key, never a queue name, so that
a worker can pass a chain on to a pool that it does not serve itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from tailrace.formats.spec.run_spec import StageKind

EXCHANGE = "tailrace.stages"
"""The durable topic exchange that every stage message goes through."""

QUEUE_ARGUMENTS = {"x-queue-type": "quorum"}
"""RabbitMQ: replicated, and refused by nothing on a single node. Valkey ignores it."""

PROTOCOL_VERSION = 1
"""Version of the worker protocol; the control plane accepts this and the one before."""


@dataclass(frozen=True)
class TaskId:
    """Identity of one delivery's target: ``{run uid}.{stage}.{attempt}``."""

    run_uid: str
    stage: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.run_uid}.{self.stage}.{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> TaskId:
        """Read a task id; raises ``ValueError`` when it is not of this form."""
        run_uid, stage, attempt = text.split(".")
        return cls(run_uid, stage, int(attempt))


def node_name(worker_id: str) -> str:
    """Return the Celery node of a worker, as Flower lists it."""
    return f"tailrace@{worker_id}"


def task_arguments(task_id: TaskId, pool: str) -> str:
    """Return the arguments of a task as Flower shows them: from the publication to the end."""
    return (
        f"run_uid={task_id.run_uid}, stage={task_id.stage}, attempt={task_id.attempt}, pool={pool}"
    )


def task_name(kind: StageKind) -> str:
    """The Celery task that executes a stage of this kind, such as ``tailrace.train``."""
    return f"tailrace.{kind.value}"


def queue_name(pool: str) -> str:
    """The queue of a pool."""
    return f"tailrace.pool.{pool}"


def routing_key(pool: str) -> str:
    """The routing key that binds a pool's queue to the exchange."""
    return f"pool.{pool}"
