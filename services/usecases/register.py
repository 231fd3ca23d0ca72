"""RegisterWorker: let a worker in before it consumes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from services.domain.errors import FailedPrecondition, InvalidInput
from services.domain.names import id_violations
from services.domain.worker import Worker, WorkerState
from services.storage import workers
from services.storage.columns import utc_now
from services.usecases.context import Context
from services.wakeups import OUTBOX
from tailrace.formats.catalog import JUDGES
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.formats.limits import MAX_JUDGES, MAX_POOLS, MAX_SLOTS
from tailrace.formats.schema import Violation

SUPPORTED_PROTOCOLS = tuple(v for v in (PROTOCOL_VERSION, PROTOCOL_VERSION - 1) if v >= 1)
"""The protocol versions that are spoken here: this one and the one before."""


@dataclass(frozen=True)
class RegisterWorker:
    """What a worker says of itself."""

    worker_id: str
    hostname: str
    pools: list[str]
    slots: list[dict[str, Any]]
    """Plain data as in the API."""
    versions: dict[str, str]
    judges: dict[str, str]
    """Judges beside the built-in ones, with their versions."""
    protocol_version: int


async def register_worker(context: Context, command: RegisterWorker) -> None:
    """Store the worker in place of an earlier one of the same id; leases are not touched.

    Raises ``InvalidInput`` and ``FailedPrecondition`` (PROTOCOL_UNSUPPORTED).
    """
    _check(command)
    if command.protocol_version not in SUPPORTED_PROTOCOLS:
        known = " and ".join(str(version) for version in SUPPORTED_PROTOCOLS)
        raise FailedPrecondition(
            "PROTOCOL_UNSUPPORTED",
            f"the worker speaks protocol {command.protocol_version}, this control plane {known}: "
            "install the same version of tailrace on both",
        )
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
    )
    async with context.database.write() as conn:
        await workers.register(conn, worker)
    context.wakeups.wake(OUTBOX)


def _check(command: RegisterWorker) -> None:
    found = id_violations("worker_id", command.worker_id)
    if len(command.hostname) > 256:
        found.append(Violation("hostname", "has more than 256 characters"))
    if not 1 <= len(command.pools) <= MAX_POOLS:
        found.append(Violation("pools", f"must name 1 to {MAX_POOLS} pools"))
    for i, pool in enumerate(command.pools):
        found += id_violations(f"pools[{i}]", pool)
    if not 1 <= len(command.slots) <= MAX_SLOTS:
        found.append(Violation("slots", f"must name 1 to {MAX_SLOTS} slots"))
    seen: set[str] = set()
    for i, slot_id in enumerate(slot.get("id", "") for slot in command.slots):
        if slot_id in seen:
            found.append(Violation(f"slots[{i}].id", f"{slot_id!r} is named twice"))
        seen.add(slot_id)
        found += id_violations(f"slots[{i}].id", slot_id)
    if len(command.versions) > 64 or any(len(v) > 256 for v in command.versions.values()):
        found.append(Violation("versions", "at most 64 entries of at most 256 characters"))
    found += _judge_violations(command.judges)
    if found:
        raise InvalidInput(found)


def _judge_violations(judges: dict[str, str]) -> list[Violation]:
    if len(judges) > MAX_JUDGES:
        return [Violation("judges", f"has {len(judges)} entries, at most {MAX_JUDGES} allowed")]
    found = []
    for name, version in judges.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
            form = "is no judge's name: 1-63 of a-z, 0-9 and '_', a letter first"
            found.append(Violation("judges", f"{name[:200]!r} {form}"))
        elif name in JUDGES:
            found.append(Violation("judges", f"{name!r} is the name of a built-in judge"))
        if not 1 <= len(version) <= 63:
            found.append(Violation("judges", f"the version of {name[:200]!r} has 1-63 characters"))
    return found
