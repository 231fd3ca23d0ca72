"""Bodies of requests, read with every wrong field at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from tailrace.formats.json_value import is_encodable
from tailrace.formats.outside_json import read_object
from tailrace.formats.schema import SpecError, Violation, parse
from tailrace.formats.wording import describe
from training.serving.api.errors import ApiError, wrong_fields
from training.serving.api.schema import (
    IGNORED,
    MAX_ANSWERS,
    MAX_PROMPTS,
    MAX_TEXT,
    NEUTRAL,
    WAYS_OUT,
    ChatRequest,
    CompletionRequest,
)

T = TypeVar("T")

_TOKENS_OR_TEXT = "must be text, a list of texts, a list of token ids, or a list of such lists"


def read_chat(body: bytes) -> ChatRequest:
    """Return the request of a body.

    Raises:
        ApiError: The body is not valid; every wrong field is named.
    """
    fields, violations = _document(body)
    _drop_tool_choice(fields, violations)
    messages = fields.get("messages")
    if isinstance(messages, list):
        fields["messages"] = [
            _message(message, f"messages[{index}]", violations)
            for index, message in enumerate(messages)
        ]
    return _parse(ChatRequest, fields, violations)


def read_completion(body: bytes) -> tuple[CompletionRequest, list[str | list[int]]]:
    """Return the request of a body and its prompts, texts or token ids; errors as read_chat."""
    fields, violations = _document(body)
    prompts = _prompts(fields.pop("prompt", None), violations)
    request = _parse(CompletionRequest, fields, violations)
    if len(prompts) * request.n > MAX_ANSWERS:
        problem = f"with {len(prompts)} prompts asks for more than {MAX_ANSWERS} answers"
        raise wrong_fields([Violation("n", problem)])
    return request, prompts


def _document(body: bytes) -> tuple[dict[str, Any], list[Violation]]:
    """Return the fields that the schemas read, and the violations of all others."""
    try:
        document: dict[str, Any] = read_object(body)
    except ValueError as error:
        raise ApiError(400, f"the body {error}", code="invalid_json") from error
    fields = {name: value for name, value in document.items() if name not in IGNORED}
    violations = []
    for name, neutral in NEUTRAL.items():
        value = fields.pop(name, None)
        if value is not None and value not in neutral:
            way_out = WAYS_OUT.get(name, "leave it out")
            violations.append(Violation(name, f"is not supported here: {way_out}"))
    if isinstance(fields.get("stop"), str):
        fields["stop"] = [fields["stop"]]
    return fields, violations


def _parse(schema: type[T], fields: object, violations: list[Violation]) -> T:
    try:
        request = parse(schema, fields)
    except SpecError as error:
        raise wrong_fields([*violations, *error.violations]) from error
    if violations:
        raise wrong_fields(violations)
    return request


def _drop_tool_choice(fields: dict[str, Any], violations: list[Violation]) -> None:
    """Remove ``tool_choice``, and the tools if none may be called."""
    choice = fields.pop("tool_choice", None)
    if choice == "none":
        fields.pop("tools", None)
    elif choice not in (None, "auto"):
        problem = "must be none or auto: a model cannot be made to call a tool"
        violations.append(Violation("tool_choice", problem))


def _message(message: object, path: str, violations: list[Violation]) -> object:
    """Return a message in the form of :class:`tailrace.formats.data.message.Message`."""
    if not isinstance(message, Mapping):
        return message
    fields = {name: value for name, value in message.items() if value is not None}
    if isinstance(fields.get("content"), list):
        fields["content"] = _text(fields["content"], f"{path}.content", violations)
    if isinstance(fields.get("tool_calls"), list):
        fields["tool_calls"] = [
            _call(call, f"{path}.tool_calls[{index}]", violations)
            for index, call in enumerate(fields["tool_calls"])
        ]
    return fields


def _text(parts: list[object], path: str, violations: list[Violation]) -> str:
    """Return the text of a content that consists of parts."""
    texts = []
    for index, part in enumerate(parts):
        text = part.get("text") if isinstance(part, Mapping) else None
        if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(text, str):
            texts.append(text)
        else:
            problem = 'must be {"type": "text", "text": …}: models read text only'
            violations.append(Violation(f"{path}[{index}]", problem))
    return "\n".join(texts)


def _call(call: object, path: str, violations: list[Violation]) -> object:
    """Return a call of a tool with its arguments as an object; OpenAI sends them as text."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        return call
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = read_object(arguments.encode() or b"{}")
        except (ValueError, UnicodeEncodeError):
            problem = "must be the text of a JSON object"
            violations.append(Violation(f"{path}.function.arguments", problem))
            arguments = {}
    return {**call, "function": {**function, "arguments": arguments}}


def _prompts(prompt: object, violations: list[Violation]) -> list[str | list[int]]:
    """Return the prompts of a completion; invalid ones are reported."""
    entries = prompt if isinstance(prompt, list) else [prompt]
    if _are_tokens(entries):
        entries = [entries]
    if not 0 < len(entries) <= MAX_PROMPTS:
        problem = f"has {len(entries)} entries, must have 1 to {MAX_PROMPTS}"
        violations.append(Violation("prompt", problem))
        return []
    prompts: list[str | list[int]] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, str) and len(entry) > MAX_TEXT:
            problem = f"has {len(entry)} characters, at most {MAX_TEXT} allowed"
            violations.append(Violation(f"prompt[{index}]", problem))
        elif isinstance(entry, str) and not is_encodable(entry):
            problem = "contains half of a surrogate pair, which UTF-8 cannot hold"
            violations.append(Violation(f"prompt[{index}]", problem))
        elif isinstance(entry, str) or (isinstance(entry, list) and _are_tokens(entry)):
            prompts.append(entry)
        else:
            problem = f"{_TOKENS_OR_TEXT}, not {describe(prompt)}"
            violations.append(Violation("prompt", problem))
            break
    return prompts


def _are_tokens(entries: list[Any]) -> bool:
    return bool(entries) and all(type(entry) is int and entry >= 0 for entry in entries)
