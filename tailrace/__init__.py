"""Tailrace: LLM post-training as a service.

The SDK: :class:`Client` (blocking), :class:`AsyncClient` (asyncio), :mod:`tailrace.errors`,
:class:`RunSpec` and :func:`load_spec`. Importing it needs neither JAX nor Celery nor SQLAlchemy,
and nothing is loaded before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tailrace.client.aio import AsyncClient
    from tailrace.client.blocking import Client
    from tailrace.errors import TailraceError
    from tailrace.formats.schema import SpecError
    from tailrace.formats.spec.run_spec import RunSpec
    from tailrace.retry import RetryPolicy
    from tailrace.spec import load_spec

__all__ = [
    "AsyncClient",
    "Client",
    "RetryPolicy",
    "RunSpec",
    "SpecError",
    "TailraceError",
    "load_spec",
]

_HOMES = {
    "AsyncClient": "tailrace.client.aio",
    "Client": "tailrace.client.blocking",
    "RetryPolicy": "tailrace.retry",
    "RunSpec": "tailrace.formats.spec.run_spec",
    "SpecError": "tailrace.formats.schema",
    "TailraceError": "tailrace.errors",
    "load_spec": "tailrace.spec",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tailrace' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
