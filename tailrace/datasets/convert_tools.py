"""Tools and their calls, as the formats of other tools write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.datasets.draft import Draft
from tailrace.datasets.json_cells import MAX_DEPTH, parsed, present
from tailrace.formats.wording import describe

_LITERALS = frozenset({"default", "const", "enum", "examples"})
"""Keys of a JSON Schema whose values are data, in which null is a value like others."""


def read_tools(value: Any, path: str, draft: Draft) -> list[Any]:
    """Return tools, each as ``{"type": "function", "function": {…}}``.

    Read are a list or its JSON as text; of a tool, the function alone, too, and its parameters as
    text.
    """
    tools = parsed(value, path, draft)
    if isinstance(tools, Mapping):
        tools = [tools]
    if not isinstance(tools, (list, tuple)):
        if tools is not None:
            draft.refuse(
                path, f"must be a list of tools, or its JSON as text, not {describe(tools)}"
            )
        return []
    return [_tool(tool, f"{path}[{i}]", draft) for i, tool in enumerate(tools)]


def _tool(value: Any, path: str, draft: Draft) -> Any:
    tool = parsed(value, path, draft)
    if not isinstance(tool, Mapping):
        return tool
    tool = present(tool)
    if "function" not in tool and "name" in tool:
        kind = tool.pop("type", "function")
        tool = {"type": kind, "function": tool}
    function = parsed(tool.get("function"), f"{path}.function", draft)
    if isinstance(function, Mapping):
        function = present(function)
        if "parameters" in function:
            parameters = parsed(function["parameters"], f"{path}.function.parameters", draft)
            function["parameters"] = _schema(parameters)
        tool["function"] = function
    return {"type": "function", **tool}


def _schema(value: Any, depth: int = 0) -> Any:
    """Return a JSON Schema without nulls, which no keyword of it but literals may have."""
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, Mapping):
        return {
            name: inner if name in _LITERALS else _schema(inner, depth + 1)
            for name, inner in value.items()
            if inner is not None or name in _LITERALS
        }
    if isinstance(value, (list, tuple)):
        return [_schema(inner, depth + 1) for inner in value]
    return value


def read_calls(value: Any, path: str, draft: Draft) -> list[Any]:
    """Return calls of tools, each as ``{"id": …, "type": "function", "function": {…}}``.

    Read are a list or a single call, or their JSON as text; of a call, the name with the arguments
    alone, too, and the arguments as text.
    """
    calls = parsed(value, path, draft)
    if calls is None:
        return []
    if isinstance(calls, Mapping):
        return [_call(calls, path, draft)]
    if not isinstance(calls, (list, tuple)):
        draft.refuse(path, f"must be a call or a list of calls, not {describe(calls)}")
        return []
    return [_call(call, f"{path}[{i}]", draft) for i, call in enumerate(calls)]


def _call(value: Any, path: str, draft: Draft) -> Any:
    call = parsed(value, path, draft)
    if not isinstance(call, Mapping):
        return call
    call = present(call)
    if "function" not in call and "name" in call:
        names = [name for name in ("name", "arguments") if name in call]
        function: Any = {name: call.pop(name) for name in names}
        path_of_arguments = f"{path}.arguments"
    else:
        function = call.get("function")
        path_of_arguments = f"{path}.function.arguments"
    if isinstance(function, Mapping):
        function = present(function)
        if "arguments" in function:
            arguments = parsed(function["arguments"], path_of_arguments, draft)
            function["arguments"] = {} if arguments is None else arguments
        call["function"] = function
    # Its place among the calls, which streamed responses of hosted APIs number.
    call.pop("index", None)
    return call


def drop_foreign_nulls(messages: Sequence[Any], tools: Sequence[Any]) -> None:
    """Drop null arguments that the called tool does not have: those of other tools, by Arrow.

    Files of JSON that were written from Arrow have them as well as Parquet files. A null argument
    that the tool has stays.
    """
    schemas = {
        tool["function"].get("name"): tool["function"].get("parameters")
        for tool in tools
        if isinstance(tool, dict)
        and isinstance(tool.get("function"), dict)
        and isinstance(tool["function"].get("name"), str)
    }
    for message in messages:
        for call in message.get("tool_calls", ()) if isinstance(message, dict) else ():
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                continue
            parameters, arguments = schemas.get(function["name"]), function.get("arguments")
            properties = parameters.get("properties") if isinstance(parameters, dict) else None
            if isinstance(properties, dict) and isinstance(arguments, dict):
                function["arguments"] = {
                    name: argument
                    for name, argument in arguments.items()
                    if argument is not None or name in properties
                }
