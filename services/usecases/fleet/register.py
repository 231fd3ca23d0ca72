"""RegisterWorker: register a worker before it consumes messages."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from typing import Any

from services.domain.errors import FailedPrecondition, InvalidInput
from services.domain.names import id_violations
from services.domain.worker import Worker, WorkerState, digest, worker_name
from services.runtime.wakeups import OUTBOX
from services.storage.engine.columns import utc_now
from services.storage.engine.locks import advisory_lock
from services.storage.rows import attempts, workers
from services.usecases.context import Context
from services.usecases.stages.expire import expire_attempt
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.formats.limits import (
    MAX_HOSTNAME,
    MAX_ID,
    MAX_JUDGES,
    MAX_NAME,
    MAX_POOLS,
    MAX_SLOTS,
    MAX_VERSION,
    MAX_VERSIONS,
)
from tailrace.formats.schema import Violation
from tailrace.formats.spec.judge_spec import JUDGES

SUPPORTED_PROTOCOLS = tuple(v for v in (PROTOCOL_VERSION, PROTOCOL_VERSION - 1) if v >= 1)
"""Supported versions of the worker protocol: the current and the previous one."""


MIN_INSTANCE_ID = 16
"""Minimum length of an instance id: a guessed one would give away the worker's name."""


@dataclass(frozen=True)
class RegisterWorker:
    """A worker's description of itself."""

    worker_id: str
    hostname: str
    pools: list[str]
    slots: list[dict[str, Any]]
    """Slots, plain data as in the API."""
    versions: dict[str, str]
    judges: dict[str, str]
    """Judges in addition to the built-in ones, with their versions."""
    protocol_version: int
    instance_id: str
    """Secret id of the installation that the name is bound to."""
    new_process: bool
    """True if the process executes nothing yet."""


@dataclass(frozen=True)
class Registration:
    """Response to a registration."""

    secret: str
    """Secret for the worker's heartbeats and deliveries; each registration makes a new one."""
    drained: bool
    """True while an operator's drain is in force."""


async def register_worker(context: Context, command: RegisterWorker) -> Registration:
    """Store the worker in place of an earlier one of the same id.

    If the process is new, attempts of an earlier process under this name end at once.

    Raises:
        InvalidInput: Fields of the command are wrong.
        FailedPrecondition: The protocol is not supported, or another live worker has the name
            (PROTOCOL_UNSUPPORTED, WORKER_NAME_TAKEN).
    """
    _check(command)
    if command.protocol_version not in SUPPORTED_PROTOCOLS:
        supported = " and ".join(str(version) for version in SUPPORTED_PROTOCOLS)
        raise FailedPrecondition(
            "PROTOCOL_UNSUPPORTED",
            f"the worker speaks protocol {command.protocol_version}, this control plane "
            f"{supported}: install the same version of tailrace on both",
        )
    secret = secrets.token_urlsafe(32)
    now = utc_now()
    worker = Worker(
        worker_id=command.worker_id,
        state=WorkerState.ONLINE,
        hostname=command.hostname,
        pools=command.pools,
        slots=command.slots,
        versions=command.versions,
        judges=command.judges,
        protocol_version=command.protocol_version,
        heartbeats=0,
        register_time=now,
        heartbeat_time=now,
        instance_digest=digest(command.instance_id),
        secret_digest=digest(secret),
        drained=False,
    )
    async with context.database.write() as conn:
        # A name that is new has no row to lock.
        await advisory_lock(conn, f"worker {command.worker_id}")
        previous = (await workers.lock(conn, [command.worker_id])).get(command.worker_id)
        if previous is not None:
            _require_own(previous, command)
            state = WorkerState.DRAINING if previous.drained else WorkerState.ONLINE
            worker = replace(worker, state=state, drained=previous.drained)
        await workers.register(conn, worker)
        orphans = (
            await attempts.list_running(conn, command.worker_id) if command.new_process else []
        )
    reason = (
        f"{worker_name(command.worker_id)} was started again while it executed this: its last "
        "process ended without a report"
    )
    for orphan in orphans:
        await expire_attempt(context, orphan, reason)
    context.wakeups.wake(OUTBOX)
    return Registration(secret, worker.drained)


def _require_own(previous: Worker, command: RegisterWorker) -> None:
    """Raise ``FailedPrecondition`` if a live worker of another instance has the name."""
    is_free = previous.state is WorkerState.OFFLINE or not previous.instance_digest
    if is_free or previous.is_instance(command.instance_id, command.hostname):
        return
    raise FailedPrecondition(
        "WORKER_NAME_TAKEN",
        f"{worker_name(command.worker_id)} is a live worker on host {previous.hostname!r}, so "
        f"this one on host {command.hostname!r} needs another name (TAILRACE_WORKER_NAME); to take "
        "the name over, stop that worker and wait until it is OFFLINE",
    )


def _check(command: RegisterWorker) -> None:
    violations = id_violations("worker_id", command.worker_id)
    if not MIN_INSTANCE_ID <= len(command.instance_id) <= MAX_NAME:
        violations.append(
            Violation("instance_id", f"must have {MIN_INSTANCE_ID} to {MAX_NAME} characters")
        )
    if len(command.hostname) > MAX_HOSTNAME:
        violations.append(Violation("hostname", f"has more than {MAX_HOSTNAME} characters"))
    if not 1 <= len(command.pools) <= MAX_POOLS:
        violations.append(Violation("pools", f"must name 1 to {MAX_POOLS} pools"))
    for i, pool in enumerate(command.pools):
        violations += id_violations(f"pools[{i}]", pool)
    if not 1 <= len(command.slots) <= MAX_SLOTS:
        violations.append(Violation("slots", f"must name 1 to {MAX_SLOTS} slots"))
    seen: set[str] = set()
    for i, slot_id in enumerate(slot.get("id", "") for slot in command.slots):
        if slot_id in seen:
            violations.append(Violation(f"slots[{i}].id", f"{slot_id!r} is named twice"))
        seen.add(slot_id)
        violations += id_violations(f"slots[{i}].id", slot_id)
    longest = max(map(len, command.versions.values()), default=0)
    if len(command.versions) > MAX_VERSIONS or longest > MAX_VERSION:
        bound = f"at most {MAX_VERSIONS} entries of at most {MAX_VERSION} characters"
        violations.append(Violation("versions", bound))
    violations += _judge_violations(command.judges)
    if violations:
        raise InvalidInput(violations)


def _judge_violations(judges: dict[str, str]) -> list[Violation]:
    if len(judges) > MAX_JUDGES:
        return [Violation("judges", f"has {len(judges)} entries, at most {MAX_JUDGES} allowed")]
    violations = []
    for name, version in judges.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
            form = "is not a judge's name: must be 1-63 of a-z, 0-9 and '_', a letter first"
            violations.append(Violation("judges", f"{name[:200]!r} {form}"))
        elif name in JUDGES:
            violations.append(Violation("judges", f"{name!r} is the name of a built-in judge"))
        if not 1 <= len(version) <= MAX_ID:
            violations.append(
                Violation("judges", f"the version of {name[:200]!r} has 1-{MAX_ID} characters")
            )
    return violations
