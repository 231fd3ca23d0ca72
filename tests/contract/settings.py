"""The settings of control plane, workers and console."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from pydantic_settings import BaseSettings

from services.settings import Settings as ServiceSettings
from tailrace.console.settings import Settings as ConsoleSettings
from workers.settings import Settings as WorkerSettings


def text() -> str:
    """Return each variable with its type, bounds, and default."""
    lines = ["control plane", *_lines(ServiceSettings), "", "worker", *_lines(WorkerSettings)]
    lines += ["", "console", *_lines(ConsoleSettings)]
    return "\n".join(lines) + "\n"


def _lines(kind: type[BaseSettings]) -> Iterator[str]:
    prefix = kind.model_config["env_prefix"]
    properties = kind.model_json_schema()["properties"]
    for name in sorted(kind.model_fields):
        schema = properties[name]
        bounds = "".join(f" {key} {value}" for key, value in sorted(_bounds(schema).items()))
        default = json.dumps(
            _portable(kind.model_fields[name].get_default(call_default_factory=True))
        )
        yield f"  {prefix}{name.upper()}: {_type(schema)}{bounds} = {default}"


def _type(schema: dict[str, Any]) -> str:
    """Return the JSON type, which pydantic names the same in all its versions."""
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {'type': 'any'}))}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"mapping to {_type(schema['additionalProperties'])}"
    return str(schema.get("format") or schema.get("type", "any"))


def _bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what limits the value, also where it may be unset."""
    options = [schema, *schema.get("anyOf", [])]
    names = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "minItems")
    return {name: option[name] for option in options for name in names if name in option}


def _portable(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return ["python" if part == sys.executable else _portable(part) for part in value]
    return value if isinstance(value, str | int | float | bool | dict | None) else str(value)
