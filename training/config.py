"""Configuration files of the commands."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

from tailrace.formats.catalog import PRESETS
from tailrace.formats.schema import SpecError, parse
from tailrace.formats.spec.run_spec import TrainBlocks, TrainConfig
from tailrace.spec_file import parse_yaml, read_template
from training.errors import ConfigError

T = TypeVar("T")


def read_config(path: Path) -> TrainConfig:
    """Return the ``model`` and ``train`` blocks of a YAML file; errors as :func:`read_yaml`."""
    return read_yaml(TrainConfig, path)


def read_run_blocks(path: Path) -> TrainBlocks:
    """Return the ``model`` and ``train`` blocks of a run file, without its further ones.

    Errors are those of :func:`read_yaml`.
    """
    return read_yaml(TrainBlocks, path, ("model", "train"))


def read_chat_template(choice: str) -> str:
    """Return the chat template of a command: a name, a text, or that of a .jinja file.

    Raises:
        ConfigError: The file cannot be read, or the name is unknown.
    """
    model = {"preset": next(iter(PRESETS)), "chat_template": choice}
    content = {"model": model}
    try:
        read_template(content, Path())
        parsed = parse(TrainBlocks, content)
    except SpecError as error:
        raise ConfigError(f"--chat-template: {error.violations[0].description}") from error
    return (parsed.model and parsed.model.chat_template) or choice


def read_json(flag: str, text: str) -> dict[str, Any]:
    """Return the JSON object of a flag.

    Raises:
        ConfigError: The text is not a JSON object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{flag} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f'{flag} must be a JSON object, such as {{"enable_thinking": false}}')
    return value


def read_yaml(
    schema: type[T], path: Path, only: Collection[str] | None = None, **defaults: str
) -> T:
    """Return the content of a YAML file with a schema.

    Args:
        schema: The schema.
        path: The file.
        only: Keys to read; others are left out (default: all).
        defaults: Values for keys that the file may leave out.

    Raises:
        ConfigError: The file is unusable; the error names every wrong key.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8-sig"))
        if isinstance(content, dict):
            read_template(content, path.parent)
            if only is not None:
                content = {name: content[name] for name in only if name in content}
        return parse(schema, {**defaults, **content} if isinstance(content, dict) else content)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start + 1})") from error
    except SpecError as error:
        lines = "\n".join(f"  {v.field}: {v.description}" for v in error.violations)
        raise ConfigError(f"{path} has {len(error.violations)} wrong keys:\n{lines}") from error
    except ValueError as error:
        raise ConfigError(f"{path} {error}") from error
