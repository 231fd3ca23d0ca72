"""Configuration files of the commands."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from tailrace.formats.schema import SpecError, parse
from tailrace.formats.spec.run_spec import TrainConfig
from tailrace.spec_file import parse_yaml, read_template
from training.errors import ConfigError

T = TypeVar("T")


def read_config(path: Path) -> TrainConfig:
    """Return the ``model`` and ``train`` blocks of a YAML file; errors as :func:`read_yaml`."""
    return read_yaml(TrainConfig, path)


def read_yaml(schema: type[T], path: Path, **defaults: str) -> T:
    """Return the content of a YAML file with a schema.

    Args:
        schema: The schema.
        path: The file.
        defaults: Values for keys that the file may leave out.

    Raises:
        ConfigError: The file is unusable; the error names every wrong key.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8-sig"))
        if isinstance(content, dict):
            read_template(content, path.parent)
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
