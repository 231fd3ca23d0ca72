"""Conversations: lists of messages as chat APIs and ShareGPT write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.datasets.convert_tools import read_calls
from tailrace.datasets.draft import Draft, Origin
from tailrace.datasets.json_cells import parsed, present
from tailrace.formats.data.message import Role
from tailrace.formats.wording import describe

ROLES: dict[str, Role] = {
    **{role.value: role for role in Role},
    "human": Role.USER,
    "person": Role.USER,
    "gpt": Role.ASSISTANT,
    "chatgpt": Role.ASSISTANT,
    "bing": Role.ASSISTANT,
    "bard": Role.ASSISTANT,
    "bot": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "function_call": Role.ASSISTANT,
    "function": Role.TOOL,
    "function_response": Role.TOOL,
    "observation": Role.TOOL,
    "ipython": Role.TOOL,
}
"""Roles by the names that data sets give to authors of messages."""

_CANONICAL = frozenset(role.value for role in Role)

_THINKING = ("reasoning_content", "thinking", "reasoning")
_LEARNT = ("weight", "train", "training", "loss")
"""Names of the key that leaves an assistant message out of the loss."""

_MEDIA = {
    "image": "an image",
    "image_url": "an image",
    "input_image": "an image",
    "audio": "audio",
    "audio_url": "audio",
    "input_audio": "audio",
    "video": "a video",
    "video_url": "a video",
    "file": "a file",
    "document": "a file",
    "tool_use": "a call of a tool: write it as tool_calls",
    "tool_result": "the result of a tool: write it as a message of the role tool",
    "refusal": "a refusal: write it as text",
}
"""Parts of contents that are refused, and names for them."""

_TEXT_PARTS = ("text", "input_text", "output_text")
_SHAREGPT = {"role": "from", "content": "value"}
_KEPT = frozenset({"name", "tool_call_id"})


def read_messages(value: Any, path: str, field: str, draft: Draft) -> list[Any]:
    """Return a list of messages with the keys that records have.

    Args:
        value: The messages, one message, or either's JSON as text.
        path: Their place in the row.
        field: The record's field that the messages are for.
        draft: The record; it gets violations, places, and the messages' other keys as metadata.
    """
    count = len(draft.violations)
    messages = parsed(value, path, draft)
    if len(draft.violations) > count:
        return []
    if isinstance(messages, Mapping):
        return [_message(messages, path, field, draft)]
    if not isinstance(messages, (list, tuple)):
        if messages is None:
            draft.refuse(path, "must have at least one message")
        else:
            draft.refuse(path, f"must be a list of messages, not {describe(messages)}")
        return []
    return [_message(message, f"{path}[{i}]", field, draft) for i, message in enumerate(messages)]


def _message(value: Any, path: str, field: str, draft: Draft) -> Any:
    # Most messages have no other keys, and files have millions of them.
    if isinstance(value, dict) and len(value) == 2:
        author, content = value.get("role"), value.get("content")
        if isinstance(author, str) and author in _CANONICAL and isinstance(content, str):
            draft.origins.setdefault(field, []).append(Origin(path))
            return value
    return _other_message(value, path, field, draft)


def _other_message(value: Any, path: str, field: str, draft: Draft) -> Any:
    """Return a message of other keys and roles than those of records."""
    if not isinstance(value, Mapping):
        draft.refuse(path, f"must be a message with role and content, not {describe(value)}")
        return value
    source = present(value)
    keys: dict[str, str] = {}
    if "role" not in source and "from" in source:
        keys = dict(_SHAREGPT)
    author = source.pop(keys.get("role", "role"), None)
    role = ROLES.get(author.lower() if isinstance(author, str) else "")
    if role is None:
        roles = ", ".join(ROLES)
        draft.refuse(
            f"{path}.{keys.get('role', 'role')}",
            "is required" if author is None else f"must be one of {roles}, not {describe(author)}",
        )
    message: dict[str, Any] = {"role": (role or Role.USER).value}
    _read_content(message, source, path, keys, draft)
    if author == "function_call":
        _read_text_call(message, path, keys, draft)
    _read_thinking(message, source, path, keys, draft)
    _read_calls(message, source, path, keys, draft)
    _read_weight(message, source, path, keys, draft)
    message |= {name: source.pop(name) for name in _KEPT if name in source}
    _keep_others(source, path, field, draft)
    draft.origins.setdefault(field, []).append(Origin(path, keys))
    return message


def _read_content(
    message: dict[str, Any], source: dict[str, Any], path: str, keys: dict[str, str], draft: Draft
) -> None:
    name = keys.get("content", "content")
    if name not in source and "text" in source:
        name = keys["content"] = "text"
    content = source.pop(name, None)
    if isinstance(content, (list, tuple)):
        texts, thoughts = _read_parts(content, f"{path}.{name}", draft)
        content = "".join(texts)
        if thoughts:
            message["reasoning_content"] = "".join(thoughts)
    if content is not None:
        message["content"] = content


def _read_parts(parts: Any, path: str, draft: Draft) -> tuple[list[str], list[str]]:
    """Return the texts and the thoughts of a content that is a list of parts."""
    texts: list[str] = []
    thoughts: list[str] = []
    for index, part in enumerate(parts):
        where = f"{path}[{index}]"
        if isinstance(part, str):
            texts.append(part)
            continue
        part = present(part) if isinstance(part, Mapping) else {}
        kind = part.get("type", "text" if "text" in part else None)
        if kind == "thinking" and isinstance(part.get("thinking"), str):
            thoughts.append(part["thinking"])
        elif kind in _TEXT_PARTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(kind, str) and kind in _MEDIA:
            draft.refuse(where, f"is {_MEDIA[kind]}: only parts of text can be imported")
        else:
            draft.refuse(where, 'must be a part {"type": "text", "text": …}')
    return texts, thoughts


def _read_text_call(message: dict[str, Any], path: str, keys: dict[str, str], draft: Draft) -> None:
    """Turn a content that is a call of a tool, as JSON, into the call."""
    name = keys.get("content", "content")
    content = message.pop("content", None)
    message["tool_calls"] = read_calls(content, f"{path}.{name}", draft)
    if content is None or not message["tool_calls"]:
        draft.refuse(f"{path}.{name}", 'must be a call {"name": …, "arguments": {…}}')
    keys["tool_calls"] = name


def _read_thinking(
    message: dict[str, Any], source: dict[str, Any], path: str, keys: dict[str, str], draft: Draft
) -> None:
    for name in _THINKING:
        if name not in source:
            continue
        thinking = source.pop(name)
        if thinking == "" or message.get("reasoning_content", thinking) == thinking:
            if thinking != "":
                message["reasoning_content"] = thinking
                keys["reasoning_content"] = name
            continue
        other = keys.get("reasoning_content", "content")
        draft.refuse(f"{path}.{name}", f"differs from the thinking in {other}: keep one of them")


def _read_calls(
    message: dict[str, Any], source: dict[str, Any], path: str, keys: dict[str, str], draft: Draft
) -> None:
    for name in ("tool_calls", "function_call"):
        value = source.pop(name, None)
        if value is None or value == []:
            continue
        calls = read_calls(value, f"{path}.{name}", draft)
        if calls and message.get("tool_calls"):
            draft.refuse(f"{path}.{name}", "is a second place of calls: keep one of them")
        elif calls:
            message["tool_calls"] = calls
            keys["tool_calls"] = name


def _read_weight(
    message: dict[str, Any], source: dict[str, Any], path: str, keys: dict[str, str], draft: Draft
) -> None:
    for name in _LEARNT:
        if name not in source:
            continue
        weight = source.pop(name)
        if name != "weight" and not isinstance(weight, bool):
            draft.refuse(f"{path}.{name}", f"must be true or false, not {describe(weight)}")
            continue
        if isinstance(weight, (bool, float)) and weight in (0, 1):
            weight = int(weight)
        if not weight and name != "weight" and message["role"] != Role.ASSISTANT:
            continue  # Nothing is learnt from other messages anyway.
        message["weight"] = weight
        keys["weight"] = name


def _keep_others(source: dict[str, Any], path: str, field: str, draft: Draft) -> None:
    """Keep the other keys of a message as metadata; refuse those that change what it says."""
    for name in ("images", "audio", "audios", "videos"):
        if source.get(name):
            what = {"images": "images", "videos": "videos"}.get(name, "audio")
            draft.refuse(f"{path}.{name}", f"has {what}: only text can be imported")
        source.pop(name, None)
    refusal = source.pop("refusal", None)
    if refusal:
        draft.refuse(f"{path}.refusal", "is not learnt: move the text to content, or leave it out")
    other_keys = {name: value for name, value in source.items() if value not in ([], {})}
    if other_keys:
        number = len(draft.origins.get(field, ()))
        draft.metadata.setdefault("message_fields", {})[f"{field}[{number}]"] = other_keys


def with_system(messages: list[Any], system: Any, path: str, field: str, draft: Draft) -> list[Any]:
    """Return messages after the system message of a separate column, if it has one."""
    if system is None or system == "":
        return messages
    if messages and isinstance(messages[0], dict) and messages[0].get("role") == Role.SYSTEM:
        if messages[0].get("content") != system:
            other = draft.origins[field][0].path
            draft.refuse(path, f"differs from the system message in {other}: keep one of them")
        return messages
    draft.origins.setdefault(field, []).insert(0, Origin(path, {"content": ""}))
    return [{"role": Role.SYSTEM.value, "content": system}, *messages]
