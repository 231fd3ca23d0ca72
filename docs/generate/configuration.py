"""The page of settings, from the settings classes and the client's environment variables."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from docs.generate import markdown
from docs.generate.attributes import attribute_docs
from services.settings import Settings as ControlPlaneSettings
from tailrace.access import INSECURE_VARIABLE
from tailrace.channel import DEFAULT_SERVER, SERVER_VARIABLE
from tailrace.console.settings import Settings as ConsoleSettings
from tailrace.environment import (
    CONSOLE_VARIABLE,
    PROFILE_VARIABLE,
    PROJECT_VARIABLE,
    TLS_VARIABLE,
    VARIABLES,
)
from workers.settings import Settings as WorkerSettings

_INTRODUCTION = """
Every setting is an environment variable. Times are in seconds, sizes in bytes. A setting that is
not valid ends the process at its start with a message that names it.
"""

_ACCESS_KINDS = {
    TLS_VARIABLE: "true or false",
    PROFILE_VARIABLE: "text",
    PROJECT_VARIABLE: "text",
    INSECURE_VARIABLE: "true or false",
}
_CLIENT = (
    (
        SERVER_VARIABLE,
        "text",
        DEFAULT_SERVER,
        "`host:port` of the control plane, unless `--server` or `Client(server)` names another.",
    ),
    *((name, _ACCESS_KINDS.get(name, "path"), "", meaning) for name, meaning in VARIABLES.items()),
    (
        CONSOLE_VARIABLE,
        "text",
        "",
        "URL of the console, for the page of a run that `tailrace runs create` prints; `tailrace "
        "up` in the same folder needs no variable.",
    ),
    (
        "grpc_proxy, https_proxy, http_proxy",
        "text",
        "",
        "HTTP proxy on the way to the control plane; the first one that is set counts.",
    ),
    (
        "no_grpc_proxy, no_proxy, NO_PROXY",
        "list, separated by commas",
        "",
        "Hosts, domains and networks that are reached without the proxy; this machine always is.",
    ),
    (
        "TAILRACE_API_KEY",
        "text",
        "",
        "Key that clients of `tailrace models serve` must send.",
    ),
    (
        "XDG_CACHE_HOME",
        "path",
        "~/.cache",
        "Folder of `tailrace/`: models that `tailrace models chat` and `models serve` fetched, and "
        "their compiled programs.",
    ),
    (
        "XDG_CONFIG_HOME",
        "path",
        "~/.config",
        "Folder of the profiles, `tailrace/profiles.json`, which `tailrace login` writes.",
    ),
    (
        "XDG_STATE_HOME",
        "path",
        "~/.local/state",
        "Folder of the secret, `tailrace/upload-secret`, that names this user's uploads so that an "
        "interrupted one continues.",
    ),
)
_SCALARS = {str: "text", Path: "path", int: "whole number", float: "number", bool: "true or false"}


def page() -> str:
    """Return the page."""
    return markdown.page(
        "Configuration",
        _INTRODUCTION,
        ["## Control plane", "", "Read by `python -m services` and `tailrace up`.", ""],
        _settings(ControlPlaneSettings),
        ["## Worker", "", "Read by `python -m workers`, `tailrace worker` and `tailrace up`.", ""],
        _settings(WorkerSettings),
        ["## Console", "", "Read by `tailrace console` and `tailrace up`.", ""],
        _settings(ConsoleSettings),
        ["## Client", "", "Read by the SDK and the command line.", ""],
        _table((f"`{name}`", kind, _code(value), text) for name, kind, value, text in _CLIENT),
    )


def _table(rows: typing.Iterable[tuple[str, str, str, str]]) -> Iterator[str]:
    yield from markdown.table(("variable", "type", "default", "meaning"), rows)


def _settings(settings: type[BaseSettings]) -> Iterator[str]:
    prefix = settings.model_config["env_prefix"]
    docs = attribute_docs(settings)
    yield from _table(
        (
            f"`{prefix}{name.upper()}`",
            _kind(field.annotation) + _bounds(field),
            _default(field.get_default(call_default_factory=True)),
            docs[name],
        )
        for name, field in settings.model_fields.items()
    )


def _kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return _kind(next(kind for kind in arguments if kind is not type(None)))
    if origin is tuple:
        return "list"
    if origin is dict:
        return "JSON object"
    return _SCALARS[annotation]


def _bounds(field: FieldInfo) -> str:
    bounds = ""
    for rule in field.metadata:
        match rule:
            case annotated_types.Ge(ge=limit):
                bounds += f" from {limit:,}"
            case annotated_types.Gt(gt=limit):
                bounds += f" above {limit:,}"
            case annotated_types.Le(le=limit):
                bounds += f" to {limit:,}"
    return bounds


def _default(value: object) -> str:
    if isinstance(value, tuple):
        command = value and value[0] == sys.executable
        value = " ".join(("python", *value[1:])) if command else ",".join(map(str, value))
    if isinstance(value, bool):
        value = str(value).lower()
    return _code("" if value is None or value == {} else str(value))


def _code(text: str) -> str:
    return f"`{text}`" if text else "unset"
