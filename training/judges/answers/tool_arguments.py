"""Arguments of tool calls in a form in which equal arguments are equal text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.formats.canonical import canonical_json

_MAX_REFERENCES = 16
"""Number of ``$ref`` in a row after which a schema describes nothing."""


def canonical_arguments(arguments: Mapping[str, Any], schema: object) -> str:
    """Return a call's arguments as text that is the same for equal ones.

    Numbers are equal by value; true is not 1, and "5" is not 5. An argument that the schema does
    not require, in objects within arguments as well, is its default if it is left out.

    Args:
        arguments: Arguments by name.
        schema: JSON Schema of the arguments (``parameters``); anything else describes nothing.
    """
    return canonical_json(_canonical(dict(arguments), schema, schema))


def _canonical(value: Any, schema: object, root: object) -> Any:
    # The recursion is as deep as the value, which its reader bounds.
    schema = _resolved(schema, root)
    if isinstance(value, dict):
        properties = _mapping(schema.get("properties"))
        content = {
            name: _canonical(member, properties.get(name, schema.get("additionalProperties")), root)
            for name, member in value.items()
        }
        return _defaults(properties, schema.get("required"), root) | content
    if isinstance(value, list):
        return [_canonical(entry, schema.get("items"), root) for entry in value]
    return _number(value)


def _defaults(properties: Mapping[str, Any], required: object, root: object) -> dict[str, Any]:
    """Return the defaults of the properties that are not required."""
    names = required if isinstance(required, list) else []
    schemas = {name: _resolved(schema, root) for name, schema in properties.items()}
    return {
        name: _canonical(schema["default"], None, root)
        for name, schema in schemas.items()
        if "default" in schema and name not in names
    }


def _number(value: Any) -> Any:
    """Return a whole float as the integer that it is; any other value unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _resolved(schema: object, root: object) -> Mapping[str, Any]:
    """Return a schema without references into its own document; empty if it is none."""
    for _ in range(_MAX_REFERENCES):
        content = _mapping(schema)
        reference = content.get("$ref")
        if not isinstance(reference, str):
            return content
        siblings = {name: part for name, part in content.items() if name != "$ref"}
        schema = {**_mapping(_at(root, reference)), **siblings}
    return {}


def _at(root: object, reference: str) -> object:
    """Return the part of a schema that a reference ``#/…`` points to; None for any other."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    part = root
    for step in reference.split("/")[1:]:
        part = _mapping(part).get(step.replace("~1", "/").replace("~0", "~"))
    return part


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
