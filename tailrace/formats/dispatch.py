"""Names of the broker's messages: task names and ids, exchange, queues and routing keys.

They are all that the control plane's relay and the workers share. Each pool has one queue, bound to
one topic exchange. Messages carry exchange and routing key, never a queue name, so that a worker
can pass a chain on to a pool that it does not serve.
"""

from __future__ import annotations

from dataclasses import dataclass

from tailrace.formats.spec.run_spec import StageKind

EXCHANGE = "tailrace.stages"
"""Durable topic exchange of all stage messages."""

QUEUE_ARGUMENTS = {"x-queue-type": "quorum"}
"""RabbitMQ replicates quorum queues; they also work on a single node. Valkey ignores the
argument."""

PROTOCOL_VERSION = 1
"""Version of the worker protocol; the control plane accepts this one and the previous one."""


@dataclass(frozen=True)
class TaskId:
    """Identity of an attempt in the broker: ``{run uid}.{stage}.{attempt}``."""

    run_uid: str
    stage: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.run_uid}.{self.stage}.{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> TaskId:
        """Parse a task id.

        Raises:
            ValueError: The text does not have this form.
        """
        run_uid, stage, attempt = text.split(".")
        return cls(run_uid, stage, int(attempt))


def node_name(worker_id: str) -> str:
    """Return the name of a worker's Celery node, as Flower lists it."""
    return f"tailrace@{worker_id}"


def task_arguments(task_id: TaskId, pool: str) -> str:
    """Return the arguments of a task as Flower shows them, from publication to end."""
    return (
        f"run_uid={task_id.run_uid}, stage={task_id.stage}, attempt={task_id.attempt}, pool={pool}"
    )


def task_name(kind: StageKind) -> str:
    """Return the Celery task for stages of a kind, such as ``tailrace.train``."""
    return f"tailrace.{kind.value}"


def queue_name(pool: str) -> str:
    """Return the queue of a pool."""
    return f"tailrace.pool.{pool}"


def routing_key(pool: str) -> str:
    """Return the routing key that binds a pool's queue to the exchange."""
    return f"pool.{pool}"
