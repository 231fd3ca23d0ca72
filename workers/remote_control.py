"""Celery's remote control, restricted to commands that change nothing.

The database is the only source of truth. Every worker would discard a revoked task id, for example,
each time the control plane published it again, and the run would wait indefinitely.
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
"""Commands that workers execute; ``shutdown`` drains."""

_CANCEL = "cancel the run with `tailrace runs cancel RUN`"
_SLOTS = "set TAILRACE_SLOTS and start the worker again; `tailrace workers drain WORKER` ends it"
_POOLS = "set TAILRACE_POOLS and start the worker again"
_TIMEOUT = "name execution.*.timeout in the run's spec"
_PRIORITY = "the control plane decides the order; `tailrace pools list` shows what waits"
_OUTSIDE = "inspect the process on its host"

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
"""Celery's other commands, each with an alternative."""

_ADVICE = "Tailrace has no such command"

Handler = Callable[..., Any]


def restrict(panel: dict[str, Handler] = Panel.data) -> None:
    """Replace the handlers of refused commands in this process's control panel."""
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
    """Wrap the handler of another node's greeting so that it ignores the node's revoked ids."""

    def greet(state: Any, from_node: str, revoked: Any = None, **options: Any) -> Any:
        return hello(state, from_node, revoked=None, **options)

    return greet


def _drain(state: Any, *_: Any, **__: Any) -> dict[str, str]:
    """Shut down as on SIGTERM: save the running stages and hand them back."""
    _log.info("draining, as requested by remote control")
    os.kill(os.getpid(), signal.SIGTERM)
    return {"ok": "drains: running stages save a checkpoint and are handed back"}
