"""Celery's remote control as workers obey it: looking is allowed, changing is not.

The database is the only source of truth. A revoked id, for one, would be discarded by every worker
each time the control plane published it again, and the run would wait for ever.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import structlog
from celery.worker.control import Panel

_log = structlog.get_logger(__name__)

ALLOWED = frozenset(
    {
        "active",
        "active_queues",
        "clock",
        "conf",
        "disable_events",
        "enable_events",
        "heartbeat",
        "hello",
        "ping",
        "query_task",
        "registered",
        "report",
        "reserved",
        "revoked",
        "scheduled",
        "shutdown",
        "stats",
    }
)
"""Commands that workers obey; ``shutdown`` drains."""

_CANCEL = "cancel the run with `tailrace runs cancel RUN`"
_SLOTS = "set TAILRACE_SLOTS and start the worker again; `tailrace workers drain WORKER` ends it"
_POOLS = "set TAILRACE_POOLS and start the worker again"
_TIMEOUT = "name execution.*.timeout in the run's spec"
_PRIORITY = "the control plane decides the order; `tailrace pools list` shows what waits"
_OUTSIDE = "look at the process from its host"

REFUSED = {
    "revoke": _CANCEL,
    "revoke_by_stamped_headers": _CANCEL,
    "terminate": _CANCEL,
    "rate_limit": _PRIORITY,
    "time_limit": _TIMEOUT,
    "election": _PRIORITY,
    "pool_grow": _SLOTS,
    "pool_shrink": _SLOTS,
    "pool_restart": "restart the worker; `tailrace workers drain WORKER` hands back what it runs",
    "autoscale": _SLOTS,
    "add_consumer": _POOLS,
    "cancel_consumer": _POOLS,
    "objgraph": _OUTSIDE,
    "memsample": _OUTSIDE,
    "memdump": _OUTSIDE,
    "dump_conf": "use its new name, conf",
    "dump_schedule": "use its new name, scheduled",
    "dump_reserved": "use its new name, reserved",
    "dump_active": "use its new name, active",
    "dump_revoked": "use its new name, revoked",
    "dump_tasks": "use its new name, registered",
}
"""Celery's other commands, each with what to do instead."""

_ADVICE = "this command is not one of Tailrace's"

Handler = Callable[..., Any]


def restrict(panel: dict[str, Handler] = Panel.data) -> None:
    """Replace the handlers of this process's control panel by those that workers obey."""
    for name, handler in list(panel.items()):
        if name not in ALLOWED:
            panel[name] = _refusal(name)
        elif name == "hello":
            panel[name] = _without_revocations(handler)
        elif name == "shutdown":
            panel[name] = _drain


def _refusal(name: str) -> Handler:
    advice = REFUSED.get(name, _ADVICE)

    def refuse(state: Any, *_: Any, **__: Any) -> dict[str, str]:
        _log.warning("refused a remote control command", command=name, instead=advice)
        return {"error": f"Tailrace workers refuse {name}: {advice}"}

    return refuse


def _without_revocations(hello: Handler) -> Handler:
    """Answer another node's greeting, but take no revoked ids from it."""

    def greet(state: Any, from_node: str, revoked: Any = None, **options: Any) -> Any:
        return hello(state, from_node, revoked=None, **options)

    return greet


def _drain(state: Any, *_: Any, **__: Any) -> dict[str, str]:
    """End as on SIGTERM: what runs is saved and handed back."""
    _log.info("drains, as remote control asks")
    os.kill(os.getpid(), signal.SIGTERM)
    return {"ok": "drains: running stages save a checkpoint and are handed back"}
