"""Run files in YAML or JSON, checked completely before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tailrace.formats.schema import SpecError, Violation, parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.spec_file import parse_yaml, read_file, read_template


def load_spec(path: str | Path, *, overrides: Iterable[str] = ()) -> RunSpec:
    """Return the run spec of a file in YAML (``.yaml``, ``.yml``) or JSON (``.json``).

    Args:
        path: Run file.
        overrides: Replacements of single values, such as ``train.max_steps=50``; each value is
            read as YAML.

    A path in ``model.chat_template`` is that of a file next to the run file, which is read.

    Raises:
        SpecError: Every wrong field at once, unknown keys with the nearest name; its subclass
            :class:`tailrace.spec_file.SpecFileError` if the file as a whole is wrong.
        OSError: The file cannot be read.
        ImportError: YAML is not installed.
    """
    mapping = read_file(Path(path))
    for override in overrides:
        _override(mapping, override)
    read_template(mapping, Path(path).parent)
    return parse(RunSpec, mapping)


def _override(data: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    names = path.split(".")
    if not equals or not all(names):
        raise SpecError([Violation(override, "is not of the form key.path=value")])
    for index, name in enumerate(names[:-1]):
        if data.get(name) is None:
            data[name] = {}
        inner = data[name]
        if not isinstance(inner, dict):
            at = ".".join(names[: index + 1])
            raise SpecError([Violation(path, f"cannot be set: {at} holds no keys")])
        data = inner
    try:
        data[names[-1]] = parse_yaml(value)
    except ValueError as error:
        raise SpecError([Violation(path, str(error))]) from error
