"""Tailrace: LLM post-training as a service.

The SDK: :class:`Client` (blocking) and :class:`AsyncClient` (asyncio) with handles of runs,
:mod:`tailrace.errors`, :class:`RunSpec` and :func:`load_spec`. Importing it needs neither JAX nor
Celery nor SQLAlchemy, and loads no name before its first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tailrace import errors
    from tailrace.client.aio import AsyncClient
    from tailrace.client.blocking import Client
    from tailrace.client.handles import AsyncRunHandle, RunHandle
    from tailrace.errors import TailraceError
    from tailrace.formats.schema import SpecError
    from tailrace.formats.spec.run_spec import RunSpec
    from tailrace.retry import RetryPolicy
    from tailrace.spec import load_spec

    __version__: str

__all__ = [
    "AsyncClient",
    "AsyncRunHandle",
    "Client",
    "RetryPolicy",
    "RunHandle",
    "RunSpec",
    "SpecError",
    "TailraceError",
    "__version__",
    "errors",
    "load_spec",
]

_HOMES = {
    "AsyncClient": "tailrace.client.aio",
    "AsyncRunHandle": "tailrace.client.handles",
    "Client": "tailrace.client.blocking",
    "RetryPolicy": "tailrace.retry",
    "RunHandle": "tailrace.client.handles",
    "RunSpec": "tailrace.formats.spec.run_spec",
    "SpecError": "tailrace.formats.schema",
    "TailraceError": "tailrace.errors",
    "load_spec": "tailrace.spec",
}


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562)."""
    if name == "errors":
        return importlib.import_module("tailrace.errors")
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'tailrace' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("tailrace")
    except metadata.PackageNotFoundError as error:
        raise AttributeError("tailrace has no version: it is not installed") from error
